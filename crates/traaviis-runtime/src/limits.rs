//! Limits of the runtime, each with the reason for its value.

use std::time::Duration;

use traaviis_model::Span;

/// Finished instances remembered in memory for lists; older ones are read from the log.
pub const FINISHED_SUMMARIES_MAX: usize = 100_000;
/// The same beside an index, where older ones are found quickly: with keys and tables each takes
/// nearly a kilobyte, so this is a tenth of 256 MB.
pub const FINISHED_INDEXED_MAX: usize = 20_000;
/// Bytes of an output or error kept in a summary; larger ones are read from the log.
pub const SUMMARY_VALUE_BYTES_MAX: usize = 1_024;
/// Wait before an input that met a full disk is tried again; half of it is lost on average.
pub const FULL_RETRY: Span = Span::millis(500);
/// Wait before an input is tried again that met a missing key: somebody must mend that by hand.
pub const KEY_RETRY: Span = Span::secs(5);
/// Requests of callers on their way to one shard; beyond it callers get `busy` instead of a queue.
pub const INBOX_MAX: usize = 65_536;
/// Requests that each tenant may have on its way even when others fill the queue.
pub const INBOX_TENANT_MIN: usize = 1_024;
/// Requests that a tenant may have taken in one turn: few, so that a turn is short, and more than
/// one, so that what belongs together is decided together.
pub const TURN: u64 = 64;
/// Appends of one shard on their way to the log before it takes no new work of callers. What waits
/// in the log waits in its order, so only what waits before it can be fair; two groups keep the
/// writer busy.
pub const IN_FLIGHT_MAX: usize = 8_192;
/// Appends a shard gathers before it hands them to the log in the middle of a batch: enough to
/// share the cost of a lock and a wake-up, few enough that the log writes while the shard decides.
pub const FLUSH_AT: usize = 64;
/// Messages a shard takes before it looks at its timers again.
pub const BATCH_MAX: usize = 1_024;
/// Bytes of lines appended between two checkpoints; bounds what a start reads, two seconds at most.
/// A checkpoint syncs all states that changed, and who appends meanwhile waits for the disk; with
/// 30,000 records a second it comes every ten seconds.
pub const CHECKPOINT_BYTES: u64 = 128 << 20;
/// Changes a watcher may lag behind before it is dropped.
pub const WATCH_MAX: usize = 4_096;
/// Watchers of one process.
pub const WATCHERS_MAX: usize = 1_024;
/// Longest time that a caller waits for what follows an event: longer waits are better asked again.
pub const CALLER_WAIT_MAX: Duration = Duration::from_secs(600);
/// Summaries of one list.
pub const LIST_MAX: usize = 10_000;
/// Different texts shared between recovered instances.
pub const INTERNED_MAX: usize = 65_536;
/// Bytes of records that a start reads before it puts states away into the snapshot store: what it
/// holds in memory is then within the limit of the process.
pub const RECOVERY_BYTES_MAX: usize = 48 << 20;
/// Bytes of states of open instances in memory, all owners together: the part of the hot store in a
/// process of 256 MB. Beyond it states go to the snapshot store.
pub const HOT_BYTES_MAX: usize = 96 << 20;
/// Bytes of states in memory beyond which callers begin nothing new: a third more than the limit at
/// which states are saved, so that saving them has time, and still half of the process.
pub const HOT_FULL_BYTES: usize = 128 << 20;
/// Part of the limit, in per cent, that states are taken out down to: so much that it is not done
/// again at once.
pub const HOT_KEPT_PERCENT: usize = 80;
/// Time that the start of a caller waits for memory before it is refused: states are saved within a
/// fraction of it, and a caller does better to try again than to wait longer.
pub const PRESSED_WAIT: Span = Span::secs(1);
/// Starts of one owner that wait for memory: as many as begin within that time when states can be
/// saved. What waits takes memory itself, so more are refused at once.
pub const PRESSED_STARTS_MAX: usize = 4_096;
/// Time without use after which a state is taken out first.
pub const HOT_TTL: Span = Span::secs(3_600);
/// Records read from the log at once.
pub const READ_RECORDS_MAX: usize = 10_000;
/// Starts of one id that wait for the first to be decided.
pub const STARTS_WAITING_MAX: usize = 10_000;
/// Times that a definition is offered to the log while another shard offers the same one; the other
/// shard is told in the meantime.
pub const DEFINITION_OFFERS_MAX: u32 = 1_000;
/// Shortest time that changes gather before they are put into the index: several steps of one
/// instance then cost one row.
pub const INDEX_WINDOW_MIN: Duration = Duration::from_millis(200);
/// Longest time that many changes gather.
pub const INDEX_WINDOW_MAX: Duration = Duration::from_millis(1_000);
/// Longest time that few changes gather; bounds what a start reads again. Putting rows syncs what
/// they change to the disk in one go, and a sync of the log meanwhile takes ten times as long.
pub const INDEX_WINDOW_FEW_MAX: Duration = Duration::from_secs(5);
/// Instances that have changed since the last drain and are still few: their states stay in memory
/// until they are put, 40 MB of them with 2 KB each.
pub const INDEX_FEW_ROWS: usize = 20_000;
/// Records that the index may be behind the log before shards wait; about what a start reads again
/// in a few seconds.
pub const INDEX_LAG_RECORDS_MAX: u64 = 1_000_000;
/// Bytes of changes that may wait for the index before shards wait; its part of 256 MB.
pub const INDEX_LAG_BYTES_MAX: usize = 24 << 20;
/// Age of a change that waits for the index before shards wait: the longest window, and twice as
/// long for the drain.
pub const INDEX_LAG_AGE_MAX: Duration = Duration::from_secs(15);
/// Rows put into the index at once while it is made again.
pub const INDEX_BATCH_ROWS: usize = 2_000;
/// Time without a step after which the document tree shows an instance: a person who looks at a
/// file wants to see where things stand, not every step on the way.
pub const TREE_REST: Duration = Duration::from_secs(1);
/// Time after which the tree shows an instance that never rests; bounds how far its position is
/// behind, and what a start reads again.
pub const TREE_AGE_MAX: Duration = Duration::from_secs(10);
/// Time between two looks at the log.
pub const TREE_WINDOW: Duration = Duration::from_millis(200);
/// Time before the tree is looked at again when callers wait for it and an owner was slow to tell a
/// state.
pub const TREE_AGAIN: Duration = Duration::from_millis(10);
/// Times that a state is asked for again whose document is of another moment; an instance that
/// never rests is answered as its owner has it.
pub const TREE_READS_MAX: u32 = 3;
/// Bytes of records that wait for the tree; more are left in the log until there is room.
pub const TREE_PENDING_BYTES_MAX: usize = 16 << 20;
/// Instances that wait for the tree; each takes about 200 bytes beside its records.
pub const TREE_PENDING_MAX: usize = 20_000;
/// Instances of one write: their states are in memory at the same time.
pub const TREE_BATCH_MAX: usize = 500;
/// Times the duration of writing lists that the next writing waits: a list is written whole for
/// each change of an entry, so lists take a twentieth of a core at most, however long they are.
pub const TREE_LIST_RESTS: u32 = 19;
/// Longest wait before a write that failed is tried again.
pub const TREE_RETRY_MAX: Duration = Duration::from_secs(5);
/// How long an orderly end waits for the tree; what is left is written after the next start.
pub const TREE_CLOSE_MAX: Duration = Duration::from_secs(10);
/// Time between two looks for ended instances that are due for the archive.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(60);
/// Least time between two compactions: each keeps a checkpoint first, and replaces a segment for a
/// small part of it.
pub const COMPACT_EVERY: Span = Span::secs(3_600);
/// Instances archived together, with one pass over their part of the log.
pub const ARCHIVE_BATCH_MAX: usize = 500;
/// Bytes of their histories; the rest of a batch waits for the next.
pub const ARCHIVE_BATCH_BYTES_MAX: usize = 64 << 20;
/// Archive files that one upkeep deletes; more wait for the next.
pub const EXPIRED_MAX: usize = 10_000;
/// Instances that are due and cannot leave the log yet; more are found by the next process.
pub const POSTPONED_MAX: usize = 10_000;
/// How far the wall clock must move, apart from the time that passes, to have jumped: less is what
/// time services do every day.
pub const CLOCK_JUMP_MIN: Span = Span::secs(60);
/// Time between two looks at the wall clock.
pub const CLOCK_LOOK_EVERY: Duration = Duration::from_secs(5);
