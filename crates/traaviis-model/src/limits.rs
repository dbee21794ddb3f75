//! Every limit of the domain in one place, each with the reason for its value.

use crate::time::Span;

/// Bytes of a definition document; one fits a request and a review.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Nesting of a document's YAML or JSON; deeper is an attack, no person writes it.
pub const DOCUMENT_DEPTH_MAX: usize = 128;
/// Values in one document after aliases are expanded; stops alias bombs.
pub const DOCUMENT_NODES_MAX: usize = 200_000;
/// States of one workflow; more cannot be drawn or reviewed.
pub const STATES_MAX: usize = 1_000;
/// Nesting of states.
pub const STATE_DEPTH_MAX: usize = 16;
/// Components that one document merges directly.
pub const COMPONENTS_MAX: usize = 100;
/// Components inside components; deeper is a chain that nobody can read.
pub const COMPONENT_DEPTH_MAX: usize = 8;
/// Missed times of a schedule that are run for at once; more belong into one run over a range.
pub const CRON_RUNS_MAX: usize = 1_000;
/// Triggers of one workflow.
pub const TRIGGERS_MAX: usize = 100;
/// Subscriptions of one workflow; each that names an event is tried when it is emitted.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// Declared events of one workflow.
pub const EVENTS_MAX: usize = 500;
/// Characters of an event name.
pub const EVENT_NAME_CHARS_MAX: usize = 128;
/// Deduplication ids remembered per instance; 32 bytes each.
pub const EVENT_IDS_MAX: usize = 1_000;
/// How long a deduplication id is remembered, unless the event says otherwise.
pub const EVENT_ID_WINDOW: Span = Span::secs(86_400);
/// Longest time that an event may ask for: whoever sends again after a week has lost more than an
/// answer.
pub const EVENT_ID_WINDOW_MAX: Span = Span::secs(7 * 86_400);
/// Migrations of one workflow; older versions than these can go through one between.
pub const MIGRATIONS_MAX: usize = 100;
/// Actions of one block.
pub const ACTIONS_PER_BLOCK_MAX: usize = 100;
/// Items of one `for_each`; actions are instant, longer lists belong into a `batch`.
pub const FOR_EACH_ITEMS_MAX: usize = 1_000;
/// Actions that all `for_each` of one step run together, because loops inside loops multiply.
pub const FOR_EACH_ACTIONS_PER_STEP_MAX: usize = 10_000;
/// Microsteps of one macrostep; more is a loop that never rests.
pub const MICROSTEPS_MAX: usize = 1_000;
/// Nodes of one effect tree as written.
pub const EFFECT_NODES_MAX: usize = 500;
/// Bytes of an effect tree that is given to an instance: one of 500 nodes has about 50 KB, and it
/// is compiled in each step for as long as it runs.
pub const ASKED_TREE_BYTES_MAX: usize = 64 << 10;
/// Effects that run outside of the states of one instance, for the same reason.
pub const ASKED_TREES_MAX: usize = 16;
/// Nesting of one effect tree.
pub const EFFECT_DEPTH_MAX: usize = 32;
/// Effect nodes advanced in one step before the work goes on in the next; bounds one commit.
pub const EFFECT_ADVANCES_PER_STEP_MAX: usize = 1_000;
/// Iterations of one `while_loop`.
pub const LOOP_ITERATIONS_MAX: u64 = 10_000;
/// Events that one `wait_signal` collects; they are held in memory together.
pub const SIGNALS_MAX: u64 = 1_000;
/// People that one task asks.
pub const TASK_QUORUM_MAX: u64 = 100;
/// Times that people are reminded of one task; more is noise, and each is a timer.
pub const TASK_REMINDERS_MAX: usize = 20;
/// Things attached to one task: a person looks at each.
pub const TASK_ATTACHMENTS_MAX: usize = 20;
/// Bytes of everything attached to one task: people look at it, and it stays in the state of the
/// instance for as long as nobody answers.
pub const TASK_ATTACHMENTS_BYTES_MAX: usize = 256 << 10;
/// How long the sender of a message waits for the end of what it starts, unless the trigger says
/// so: less than most senders wait for an answer.
pub const HOOK_REPLY_WAIT: Span = Span::secs(20);
/// How long it may wait at most: proxies in between hang up after about a minute.
pub const HOOK_REPLY_WAIT_MAX: Span = Span::secs(60);
/// Comments to one task: they stay in the state of the instance for as long as nobody answers, and
/// whoever has more to say to each other has better places for it.
pub const TASK_COMMENTS_MAX: usize = 100;
/// Characters of one comment to a task: a page, so that all of them take about as much as what is
/// attached may take.
pub const TASK_COMMENT_CHARS_MAX: usize = 2_000;
/// Times that one task is handed on: a task that nobody keeps for so long is asked of the wrong
/// people.
pub const TASK_DELEGATIONS_MAX: usize = 20;
/// Characters of the name of whoever looks after an incident.
pub const ASSIGNEE_CHARS_MAX: usize = 128;
/// Calls or tokens of one budget: whoever needs more needs no budget.
pub const BUDGET_COUNT_MAX: u64 = 1_000_000_000_000;
/// Money of one budget, in millionths of a US dollar: a million dollars.
pub const BUDGET_USD_MICROS_MAX: u64 = 1_000_000_000_000;
/// Tokens that a call is left with when its `max_tokens` is cut down to what a budget leaves; fewer
/// are no answer.
pub const BUDGET_TOKENS_LEAST: u64 = 64;
/// Priority of an effect, up and down; more steps than that nobody keeps apart.
pub const PRIORITY_MAX: i8 = 10;
/// Names and patterns of one list of `permissions`; more is no list that anybody reviews.
pub const GRANT_NAMES_MAX: usize = 200;
/// Plugins of one document: each stands once.
pub const PLUGINS_MAX: usize = 10;
/// Labels that a document adds to its metrics; each multiplies what must be kept.
pub const PLUGIN_LABELS_MAX: usize = 4;
/// Characters of the value of such a label.
pub const PLUGIN_LABEL_CHARS_MAX: usize = 64;
/// Keys of one kind of gate that a tenant has in use; more is a key that is never the same.
pub const GATES_MAX: usize = 10_000;
/// Effects that wait for one key of a gate.
pub const GATE_WAITING_MAX: usize = 10_000;
/// Passes of one window of a rate limit.
pub const RATE_REQUESTS_MAX: u64 = 10_000;
/// Failures and probes that a circuit breaker counts.
pub const BREAKER_FAILURES_MAX: u64 = 1_000;
/// Bytes of the cached values of one tenant: a small part of the memory of a process.
pub const CACHE_BYTES_MAX: usize = 8 << 20;
/// Bytes of one cached value.
pub const CACHE_VALUE_BYTES_MAX: usize = 1 << 20;
/// Agents of one `coordinate_agents`.
pub const AGENTS_MAX: usize = 16;
/// Items of one `batch`.
pub const BATCH_ITEMS_MAX: usize = 10_000;
/// Receivers of one broadcast: one less than a list can name, so that more are noticed.
pub const BROADCAST_RECEIVERS_MAX: usize = 9_999;
/// Bytes of the history that a fork begins with; it is committed at once, as one step is.
pub const FORK_BYTES_MAX: usize = 16 << 20;
/// Children of one instance that have not ended; they are held in memory with it.
pub const CHILDREN_MAX: usize = 10_000;
/// How many stand above a child; deeper is a workflow that starts itself without end.
pub const CHILD_DEPTH_MAX: u32 = 32;
/// Tags of one instance: by more than a handful nobody finds anything.
pub const TAGS_MAX: usize = 20;
/// Characters of one tag; a word or two, and an entry of the index for each instance.
pub const TAG_CHARS_MAX: usize = 64;
/// Characters of a business key that a caller gives an instance: a number or an address of another
/// system, and an entry of the index for each instance.
pub const CORRELATION_CHARS_MAX: usize = 256;
/// Labels of one document or instance; they are kept in every snapshot.
pub const LABELS_MAX: usize = 64;
/// Bytes of one value as JSON, wherever it stands. It is in memory as a whole while a step uses it,
/// and several times while it is written, which a machine with 2 GB can do.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Bytes above which a value rests beside the log, named by its hash. Smaller ones are read faster
/// where they are than a file is opened.
pub const BLOB_BYTES_MIN: usize = 256 << 10;
/// Bytes of one blob when read back; one that claims more is damage. A step about a person is
/// sealed as one value, a third longer than it was.
pub const BLOB_BYTES_MAX: u64 = 2 * STEP_BYTES_MAX as u64;
/// Bytes of whole records that a log hands out together, one that is larger alone.
pub const PART_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Bytes of an event payload or start input.
pub const PAYLOAD_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Bytes of an instance's data.
pub const DATA_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Bytes of one effect's result.
pub const RESULT_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Open timers of one instance.
pub const TIMERS_MAX: usize = 1_000;
/// Deferred events kept by one instance.
pub const DEFERRED_MAX: usize = 1_000;
/// Inputs waiting in one instance's mailbox.
pub const MAILBOX_MAX: usize = 10_000;
/// Steps that one instance takes in a second; more is a loop, and takes the log from the others. As
/// many may come at once after a rest.
pub const STEPS_PER_SECOND_MAX: u32 = 200;
/// How far the time in an id that a caller has chosen may be ahead: clocks differ by less than
/// this.
pub const ID_AHEAD_MAX: Span = Span::secs(86_400);
/// Events that callers of one tenant may send in a second, on a machine of its own: what one log
/// takes in beside everything that instances do by themselves.
pub const EVENTS_PER_SECOND_MAX: u32 = 5_000;
/// Seconds of that rate which may come at once after a rest.
pub const EVENTS_BURST_SECONDS: u32 = 4;
/// Instances that one tenant may have open; each is held in memory, a few kilobytes of it.
pub const OPEN_INSTANCES_MAX: usize = 100_000;
/// Longest delay: 5 years, in seconds.
pub const DELAY_SECS_MAX: i64 = 5 * 366 * 86_400;
/// How long a tree may clean up before a person is asked: 1 hour, in seconds.
pub const CLEANUP_SECS_MAX: i64 = 3_600;
/// Effects running at once for one tenant.
pub const RUNNING_EFFECTS_MAX: usize = 256;
/// Characters of one expression.
pub const EXPRESSION_CHARS_MAX: usize = 4_096;
/// Depth of an expression's syntax tree.
pub const EXPRESSION_DEPTH_MAX: usize = 64;
/// Cost units of one evaluation; chosen so that it stays under 10 ms.
pub const EXPRESSION_COST_MAX: u64 = 100_000;
/// Bytes of one evaluation's result: it may hand on a value as large as there is one.
pub const EXPRESSION_RESULT_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Bytes of a text that an expression writes a value out as; far more than anybody reads.
pub const EXPRESSION_TEXT_BYTES_MAX: usize = 1 << 20;
/// Guards of one list that analysis compares with each other; the work grows with their square.
pub const GUARDS_COMPARED_MAX: usize = 100;
/// Literals over which analysis compares the guards of one list; more make a table, not a choice.
pub const GUARD_LITERALS_MAX: usize = 500;
/// Records of one group commit.
pub const GROUP_RECORDS_MAX: usize = 4_096;
/// Uncompressed bytes of one group commit; one larger step still goes alone.
pub const GROUP_BYTES_MAX: usize = 1 << 20;
/// Bytes of one log segment.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of a frame when read back; a header that claims more is damage.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Bytes of values that one step may write: four of the largest, such as an input, the data made of
/// it and two calls with it.
pub const STEP_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX;
/// Bytes of values of one step that stay in the log; half of what a frame of it may hold, with room
/// for everything else in the records.
pub const STEP_LOG_BYTES_MAX: usize = 16 << 20;
/// Bytes that one record may leave in the log of values that rest in blobs: what is around them.
pub const RECORD_LOG_BYTES_MAX: usize = 3 * BLOB_BYTES_MIN;
/// Bytes of values after which effects go on in the next step, so that loops and batches over large
/// values never come near [`STEP_BYTES_MAX`].
pub const STEP_BYTES_YIELD: usize = 4 << 20;
/// Places of a payload that one event or plugin names as personal; each is followed on every event.
pub const PII_FIELDS_MAX: usize = 100;
/// How long an ended instance stays in the log unless its workflow says otherwise: 30 days, as long
/// as people look back at what has just happened.
pub const RETENTION_COMPLETED: Span = Span::secs(30 * 86_400);
/// How long its archive file is kept after that unless its workflow says otherwise: a year.
pub const RETENTION_ARCHIVE: Span = Span::secs(365 * 86_400);
/// Longest retention: a hundred years, more than any law asks for.
pub const RETENTION_MAX: Span = Span::secs(100 * 366 * 86_400);
/// Bytes of a history with everything in it that goes to the archive. It is in memory while it
/// goes, so a longer one stays in the log.
pub const ARCHIVE_HISTORY_BYTES_MAX: usize = STEP_BYTES_MAX;
/// Entries of a directory of the archive before its next files go one level down.
pub const ARCHIVE_DIR_ENTRIES_MAX: usize = 10_000;
/// Bytes of an archive file when unpacked, without large values, which rest in blobs.
pub const ARCHIVE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the list of files at the beginning of an export: two million files.
pub const EXPORT_LIST_BYTES_MAX: u64 = 512 << 20;
/// How many times its own size an export may unpack to: gzip packs nothing tighter than to a
/// 1,032nd, so what claims more is made to mislead.
pub const EXPORT_RATIO_MAX: u64 = 1_100;
/// Percent of a segment's lines that compaction must be able to drop before it writes the rest
/// again: less is more work than it frees.
pub const COMPACT_SHARE_MIN: u64 = 5;
/// Bytes of the log that upkeep reads or writes in a second, so that it never competes with work.
pub const UPKEEP_BYTES_PER_SEC: u64 = 10 << 20;
/// Bytes of what rests that a server reads again in a second, looking for damage: a hundredth of
/// what any disk gives, and 64 GiB in five hours.
pub const SCRUB_BYTES_PER_SEC: u64 = 4 << 20;
/// Damaged places that such a look keeps to tell; one is enough to go and look.
pub const SCRUB_PLACES_MAX: usize = 100;
/// Characters of the name of a secret: as long as the name of a host, and short in a path.
pub const SECRET_NAME_CHARS_MAX: usize = 63;
/// Bytes of the value of a secret; a chain of certificates with its key fits.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
/// Secrets of one tenant; whoever needs more keeps data in them.
pub const SECRETS_MAX: usize = 1_000;
/// Bytes of the file that says who had tokens turned back; it is read as a whole for each entry.
pub const REVEALS_BYTES_MAX: usize = 16 << 20;
/// Versions of the key of one tenant: a new one every day for years.
pub const KEY_VERSIONS_MAX: usize = 1_000;
/// Characters of the name of a data subject: an id of any system, or an address.
pub const SUBJECT_CHARS_MAX: usize = 200;
/// Keys of data subjects that a process remembers: those of the people whose instances move now.
pub const SUBJECT_KEYS_HELD_MAX: usize = 4_096;
/// Root keys at hand: the newest, and older ones until everything is wrapped anew.
pub const ROOT_KEYS_MAX: usize = 16;
/// Entries of one directory of the document tree before it fans out; file systems and people are
/// slow with more.
pub const TREE_ENTRIES_MAX: usize = 10_000;
/// Records in one file of events of the document tree; a file that still opens in an editor.
pub const TREE_FILE_RECORDS: u64 = 10_000;
