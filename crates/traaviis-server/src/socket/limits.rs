//! Limits of sockets, each with the reason for its value.

use std::time::Duration;

/// Sockets of one process: at 8 KiB each, what the memory of a process leaves them.
pub const SOCKETS_MAX: usize = 10_000;
/// Sockets of one tenant: half of all, so that no tenant takes the places of all others.
pub const SOCKETS_OF_TENANT_MAX: usize = SOCKETS_MAX / 2;
/// Sockets of one user or key at once: somebody has a few screens, and a program that speaks for
/// many people a few hundred.
pub const SOCKETS_OF_CALLER_MAX: usize = 500;
/// A socket that is silent for so long is closed; clients send a heartbeat every 30 s.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a frame of a client: more than any request of the protocol needs.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// Messages of a client in one second; what is beyond is refused.
pub const MESSAGES_MAX: u32 = 50;
/// Messages in one second with which a client does not listen to refusals, and is closed.
pub const FLOOD_MESSAGES: u32 = 4 * MESSAGES_MAX;
/// Topics of one socket: a screen shows a dozen things.
pub const TOPICS_MAX: usize = 64;
/// Machines that one socket has chosen to hear of: as many as a client has of a whole site.
pub const FOLLOWED_MAX: usize = 10_000;
/// Machines that all sockets together have chosen to hear of, 40 bytes each: 10 MB.
pub const FOLLOWED_ALL_MAX: usize = 250_000;
/// Machines of one message that chooses: more do not fit a frame.
pub const CHOSEN_MAX: usize = 1_500;
/// Messages that wait for one socket; beyond it the socket is closed and its client reads anew.
pub const QUEUE_MAX: usize = 1_000;
/// Bytes that wait for one socket: a thousand messages of usual size, or fewer that are large.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Bytes that wait for all sockets together, an eighth of the memory of a process.
pub const QUEUES_BYTES_MAX: usize = 32 << 20;
/// Messages that wait for a socket without its being the one that has taken all the room.
pub const QUEUE_FAIR: usize = 16;
/// Bytes of a message to all on a topic; a larger one says what it is about and leaves the rest
/// out, since the buffers of every socket grow with the largest that went through.
pub const BROADCAST_BYTES_MAX: usize = 16 << 10;
/// Bytes of a reply; what is larger is asked for over HTTP, which keeps no buffer of it.
pub const REPLY_BYTES_MAX: usize = 256 << 10;
/// Bytes that are read at once: the library's own buffers cost 128 KiB a connection, and nearly
/// every message of a client is shorter than this.
pub const READ_BYTES: usize = 1 << 10;
/// How soon a change of rights reaches sockets.
pub const RECHECK: Duration = Duration::from_millis(250);
/// How often the activity of a tenant is told to who watches it.
pub const SAMPLE: Duration = Duration::from_secs(5);
/// How long a farewell may take: a client that is behind reads what was sent before it.
pub const FAREWELL: Duration = Duration::from_secs(5);
/// Changes of documents that wait to be spread; beyond it every socket looks at its rights.
pub const CHANGES_MAX: usize = 4_096;

/// Limits that an installation, or a test, may set otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// Sockets at once.
    pub sockets: usize,
    /// Of them, those of one tenant.
    pub of_tenant: usize,
    /// Of them, those of one user or key.
    pub of_caller: usize,
    /// Longest silence of a client.
    pub silence: Duration,
}

impl Default for SocketLimits {
    fn default() -> SocketLimits {
        SocketLimits {
            sockets: SOCKETS_MAX,
            of_tenant: SOCKETS_OF_TENANT_MAX,
            of_caller: SOCKETS_OF_CALLER_MAX,
            silence: SILENCE_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_that_are_told_to_everybody() {
        let SocketLimits { sockets, of_tenant, of_caller, silence } = SocketLimits::default();
        assert_eq!((sockets, of_tenant, of_caller), (10_000, 5_000, 500));
        assert_eq!(silence, Duration::from_secs(60));
        assert_eq!((TOPICS_MAX, MESSAGES_MAX, QUEUE_MAX, FRAME_BYTES_MAX), (64, 50, 1_000, 65_536));
    }
}
