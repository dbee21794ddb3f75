//! Traits for every way out of the process. Adapters implement them; nothing here does anything.

pub mod archive;
pub mod backups;
pub mod disk;
pub mod documents;
pub mod http;
pub mod index;
mod lines;
pub mod mail;
pub mod planted;
pub mod secrets;
pub mod snapshots;
pub mod tree;
pub mod vault;

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

pub use archive::{Archive, Archived, ArchivedHistory, Compacted, Compaction};
pub use backups::{BackupTarget, TargetError};
pub use documents::{DocumentError, DocumentQuery, DocumentRow, DocumentStore};
pub use http::{Http, HttpAsk, HttpError, HttpReply};
pub use index::{Index, IndexError};
pub use lines::Lines;
pub use mail::{Mail, MailError, Mailer};
pub use secrets::{NoKeys, RedactionKeys, Secret, SecretError, Secrets};
pub use snapshots::{Completion, SnapshotError, SnapshotHead, SnapshotRow, SnapshotStore};
use traaviis_model::{
    Call, CallId, DeliveryClass, EffectError, InstanceId, Seq, TenantCtx, TenantId, Text,
    Timestamp, Value,
};
pub use tree::{Tree, TreeError};
pub use vault::{Unsealed, Vault};

/// Time that only goes forward while the process lives.
pub trait Clock: Send + Sync {
    /// Returns now, UTC: the wall clock at start plus the time passed since, so jumps of the wall
    /// clock move no timer.
    fn now(&self) -> Timestamp;

    /// Returns what the wall clock shows, which somebody may set; a clock that cannot be set shows
    /// the time.
    fn wall(&self) -> Timestamp {
        self.now()
    }
}

/// Fresh ids.
pub trait Ids: Send + Sync {
    /// Returns a new instance id: UUIDv7, in rising order.
    fn instance_id(&self) -> InstanceId;
}

/// Position in the log: number of records committed before it. The first record has position 0.
pub type Position = u64;

/// Records of one step of one stream, to be committed together or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    /// Stream: instance, or a document's own stream.
    pub stream: InstanceId,
    /// Number of the first record; must follow the stream's last.
    pub first_seq: Seq,
    /// Number of records.
    pub count: u32,
    /// One line per record.
    pub lines: Lines,
    /// The stream ends with these records, so nothing needs to be remembered about it.
    pub ends_stream: bool,
    /// Of the stream the caller knows everything before this position, so a log that remembers
    /// nothing of it (it had ended) looks only at what follows.
    pub known_to: Position,
    /// The person with whose key the values in the lines are to be sealed. A log without keys
    /// refuses such an append.
    pub subject: Option<Text>,
}

/// Why the log refuses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Another writer was first, or the caller lost track.
    #[error("stream `{stream}` stands at record `{last}`; record `{first}` does not follow it")]
    SeqMismatch {
        /// Stream.
        stream: InstanceId,
        /// Last record.
        last: Seq,
        /// First record offered.
        first: Seq,
    },
    /// No space; nothing was written; trying again later can help.
    #[error("the disk that holds the log is full; nothing was written, free space and try again")]
    Full,
    /// A write or sync failed. The log acknowledges nothing ever again; the process must end.
    #[error("the log failed and stops for safety: {0}")]
    Failed(Arc<str>),
    /// What is on disk cannot be trusted.
    #[error("the log is damaged: {0}")]
    Damaged(Arc<str>),
    /// This append breaks a rule of the log; nothing of it was written, and others go on.
    #[error("the log refuses the append: {0}")]
    Refused(Arc<str>),
    /// Another process holds the directory.
    #[error(
        "the data directory `{dir}` is in use by {}; stop it, or talk to it through its control socket",
        holder(*pid)
    )]
    Locked {
        /// Directory.
        dir: String,
        /// Process that holds it; 0 when it is not known.
        pid: u32,
    },
    /// The archive file of one instance cannot be trusted.
    #[error(
        "instance `{stream}` is archived, and its file `{path}` is damaged: {why}; restore that file from a backup"
    )]
    ArchiveDamaged {
        /// Instance.
        stream: InstanceId,
        /// Its file.
        path: String,
        /// What is wrong.
        why: Arc<str>,
    },
    /// The operating system refused.
    #[error("cannot {what} `{path}`: {why}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: String,
        /// The system's answer.
        why: String,
    },
    /// What is sealed cannot be opened for want of a key that is not destroyed.
    #[error("values in the log are sealed, and cannot be opened: {why}")]
    Sealed {
        /// Stable code.
        code: &'static str,
        /// What is wrong.
        why: Arc<str>,
    },
    /// Written by a newer release.
    #[error(
        "`{path}` is in format `{found}`, this release reads up to `{known}`; use the release that wrote it, or a newer one"
    )]
    Newer {
        /// The file that says so.
        path: String,
        /// Format found.
        found: u32,
        /// Newest format known.
        known: u32,
    },
}

/// Names who holds a directory.
fn holder(pid: u32) -> String {
    match pid {
        0 => "another process, whose file `LOCK` somebody removed".into(),
        pid => format!("process `{pid}`"),
    }
}

impl LogError {
    /// Says whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, LogError::Full)
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            LogError::SeqMismatch { .. } => "seq_mismatch",
            LogError::Full => "storage_full",
            LogError::Failed(_) | LogError::Io { .. } => "storage_failed",
            LogError::Damaged(_) => "data_directory_damaged",
            LogError::ArchiveDamaged { .. } => "archive_damaged",
            LogError::Refused(_) => "append_refused",
            LogError::Locked { .. } => "data_directory_locked",
            LogError::Sealed { code, .. } => code,
            LogError::Newer { .. } => "data_format_newer",
        }
    }
}

/// What became of an append: the position after it, or why not.
pub type Commit = Result<Position, LogError>;

/// Where the log tells what became of appends. Called by the log's own thread, once per group.
pub trait CommitSink: Send + Sync {
    /// Takes the outcomes of one group, in the order of the appends.
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>);
}

/// Appends and returns where the outcome will be told; nothing comes when the log ends before.
pub fn append_alone(log: &dyn LogStore, ctx: &TenantCtx, append: Append) -> Receiver<Commit> {
    struct Told(Mutex<Sender<Commit>>);

    impl CommitSink for Told {
        fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
            let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits no more is told nothing.
            outcomes.for_each(|(_, commit)| drop(sender.send(commit)));
        }
    }

    let (sender, receiver) = channel();
    let sink: Arc<dyn CommitSink> = Arc::new(Told(Mutex::new(sender)));
    log.append(ctx, append, &sink, 0);
    receiver
}

/// One committed record as the log hands it out.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Position of the record.
    pub position: Position,
    /// The JSON line without its newline.
    pub bytes: &'a [u8],
    /// It rests sealed, so nothing of it may stand anywhere in the open.
    pub is_sealed: bool,
}

/// Some records of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// JSON lines.
    pub lines: Vec<Vec<u8>>,
    /// Where to read on: none of the stream's next records stands before it.
    pub next: Position,
    /// It ends here because its values are large, before what was asked for is complete.
    pub is_cut: bool,
}

/// Why a log without keys takes no values that are to be sealed.
pub const NO_KEYS: &str = "it has no keys to seal the values of a person with";

/// The only truth: committed records in order.
///
/// Promises: an append is durable before its outcome is told; all of it or nothing; numbers of a
/// stream are dense; after a failed write or sync every later append answers [`LogError::Failed`].
pub trait LogStore: Send + Sync {
    /// Takes an append. Its outcome goes to `sink` with `token`, in order per stream.
    fn append(&self, ctx: &TenantCtx, append: Append, sink: &Arc<dyn CommitSink>, token: u64);

    /// Takes several appends as [`LogStore::append`] would one by one, and empties the list. A log
    /// that locks, locks once.
    fn append_all(&self, appends: &mut Vec<(TenantCtx, Append, u64)>, sink: &Arc<dyn CommitSink>) {
        for (ctx, append, token) in appends.drain(..) {
            self.append(&ctx, append, sink, token);
        }
    }

    /// Reads committed records of one stream, from number `from`, at most `limit`.
    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError>;

    /// Reads as [`LogStore::read`] does, where the records of the stream from number `from` on are
    /// known to stand in `within`; a log that can, looks nowhere else. When records are large it
    /// may hand out fewer, and says so.
    fn read_within(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
        within: Range<Position>,
    ) -> Result<Part, LogError> {
        let lines = self.read(ctx, stream, from, limit)?;
        Ok(Part { lines, next: within.start, is_cut: false })
    }

    /// Visits every committed record from `from` on, in order; for recovery and projections, which
    /// see all tenants.
    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError>;

    /// Visits committed records from `from` on, in order, until `visit` says that it is enough.
    fn scan_while(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> Result<(), LogError> {
        let mut goes_on = true;
        self.scan(from, &mut |line| goes_on = goes_on && visit(line)).map(drop)
    }

    /// Returns the archive beside the log, when it has one. Histories in it are read through
    /// [`LogStore::read`] like others.
    fn archive(&self) -> Option<&dyn Archive> {
        None
    }

    /// Drops what the archive has from the oldest segments; positions stay what they are.
    fn compact(&self, compaction: &mut Compaction<'_>) -> Result<Compacted, LogError> {
        let left = compaction.expired.to_vec();
        Ok(Compacted { left, ..Compacted::default() })
    }

    /// Returns the position after the last record whose outcome was told.
    fn tail(&self) -> Position;

    /// Returns the positions whose records are known to be lost, as far as opening and reading have
    /// told.
    fn lost(&self) -> Vec<Range<Position>> {
        Vec::new()
    }

    /// Tells the log what it cannot know after a checkpoint: the last record of each open stream.
    fn seed(&self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>);

    /// Makes everything that was acknowledged durable, where the log acknowledges earlier.
    fn sync(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// Seals a line about an instance with the key of a person, as it may be written. `shown` is
    /// the line as it may be read without the key. A log without keys refuses.
    fn seal(
        &self,
        _name: (TenantId, InstanceId),
        _subject: &Text,
        _shown: &[u8],
        _line: &[u8],
    ) -> Result<Vec<u8>, LogError> {
        Err(LogError::Refused(NO_KEYS.into()))
    }

    /// Returns for whom what is kept of a tenant's documents beside the log is to be sealed; nobody
    /// where none of them ever was in it.
    fn documents_sealed_for(&self, _tenant: TenantId) -> Result<Option<Text>, LogError> {
        Ok(None)
    }

    /// Opens a line that [`LogStore::seal`] gave, or what may be read of it when its key is
    /// destroyed; any other line is given back.
    fn unseal<'a>(&self, line: &'a [u8]) -> Result<Cow<'a, [u8]>, LogError> {
        Ok(Cow::Borrowed(line))
    }

    /// Keeps `body` as the newest checkpoint: everything before `position` is reflected in it.
    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError>;

    /// Returns the newest checkpoint that can be read.
    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError>;
}

/// What a call gave.
pub type Outcome = Result<Value, EffectError>;

/// Tells the outcome of a call, once.
pub type OnOutcome = Box<dyn FnOnce(Outcome) + Send>;

/// Performs calls to the outside: HTTP now, later tools and models.
pub trait Connector: Send + Sync {
    /// Begins an attempt; `done` is called once, from any thread. The attempt ends by itself at its
    /// timeout with error `timeout`.
    fn perform(&self, ctx: &TenantCtx, call: Call, done: OnOutcome);

    /// Gives up an attempt; its `done` may still be called.
    fn abandon(&self, ctx: &TenantCtx, id: &CallId);

    /// Returns what may be promised about a call whose outcome is not recorded.
    fn delivery_class(&self, ctx: &TenantCtx, kind: &str, input: &Value) -> DeliveryClass;
}

impl fmt::Debug for dyn LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogStore")
    }
}
