//! Asks the running process.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{
    protocol::{Ask, By, LINE_BYTES_MAX, Reply, Request, VERSION},
    socket_path,
};
use crate::exit::{Exit, Failure};

/// How long an answer may take; a commit on a very slow disk still fits.
const ANSWER_SECS_MAX: u64 = 60;

/// A connection to the process that holds a data directory.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    dir: String,
    by: By,
}

impl Client {
    /// Connects; none when no process listens.
    pub fn connect(dir: &Path, by: &By) -> Result<Option<Client>, Failure> {
        let path = socket_path(dir);
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => return Ok(None),
                ErrorKind::PermissionDenied => {
                    let message = format!(
                        "cannot talk to the process that holds `{}`: {error}; only its user may",
                        dir.display()
                    );
                    return Err(Failure::new(Exit::Denied, "control_denied", message));
                }
                // A path too long for a socket, or a file in its place: nobody listens there.
                _ => return Ok(None),
            },
        };
        let limit = Some(Duration::from_secs(ANSWER_SECS_MAX));
        let client = Client { stream, dir: dir.display().to_string(), by: by.clone() };
        client.stream.set_read_timeout(limit).map_err(|it| client.lost(&it))?;
        client.stream.set_write_timeout(limit).map_err(|it| client.lost(&it))?;
        Ok(Some(client))
    }

    /// Asks one question.
    pub fn ask(&self, ask: Ask) -> Result<serde_json::Value, Failure> {
        if let Ask::Send { wait: Some(wait), .. } = &ask {
            let limit = Duration::from_secs(ANSWER_SECS_MAX) + wait.timeout();
            self.stream.set_read_timeout(Some(limit)).map_err(|it| self.lost(&it))?;
        }
        let request = Request { v: VERSION, by: self.by.clone(), ask };
        let mut line = serde_json::to_vec(&request)
            .map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))?;
        line.push(b'\n');
        (&self.stream).write_all(&line).map_err(|it| self.lost(&it))?;
        let mut line = Vec::new();
        BufReader::new((&self.stream).take(LINE_BYTES_MAX))
            .read_until(b'\n', &mut line)
            .map_err(|it| self.lost(&it))?;
        let reply: Reply = serde_json::from_slice(&line).map_err(|_| {
            let message = format!(
                "the process that holds `{}` stopped before it answered; try again",
                self.dir
            );
            Failure::new(Exit::Unreachable, "control_lost", message)
        })?;
        reply.into_result()
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        let message = format!(
            "the process that holds `{}` does not answer: {error}; see whether it still runs",
            self.dir
        );
        Failure::new(Exit::Unreachable, "control_lost", message)
    }
}
