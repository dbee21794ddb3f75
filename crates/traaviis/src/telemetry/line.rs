//! Log lines: one event of `tracing` as a line on standard error, for programs or for people.
//!
//! Invariants: personal data and secrets are replaced before anything is written; a message that
//! comes again and again is written some times in a while, and how many were left out is told.

use std::{
    collections::HashMap,
    fmt,
    fmt::Write as _,
    io::{self, Write as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use traaviis_model::privacy::PiiMode;
use traaviis_policy::pii::{Policy, WITH_FORM, redact_text};
use traaviis_server::routes::ACCESS;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::records::Records;
use crate::clock;

/// Time in which lines are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one message in that time: enough to see that it lasts.
const SAME_MAX: u64 = 20;
/// Lines of one place in the program in that time, whatever they say: 300 bytes each fill less than
/// a gigabyte in an hour.
const PLACE_MAX: u64 = 10_000;
/// Messages that are told apart in that time.
const MESSAGES_MAX: usize = 2_048;
/// Characters of a text; more is somebody's data.
const TEXT_CHARS_MAX: usize = 4_096;

/// Fields whose values this program makes: ids, and addresses of its own.
const PLAIN: [&str; 9] = [
    "code",
    "request_id",
    "trace_id",
    "span_id",
    "tenant_id",
    "instance_id",
    "operation",
    "route",
    "listen",
];

/// Target of the lines that tell what was left out.
const SUMMARY: &str = "traaviis::telemetry";

/// What the tokens of this program begin with.
const TOKEN: &str = "trv_";

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    Json,
    /// Time, level, message and fields.
    Text,
    /// What a person sees beside the result of a command: `warning: message (code)`.
    Notes,
}

/// Where lines go.
type Out = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Writes events as lines.
pub struct Lines {
    form: Form,
    policy: Policy,
    counts: Mutex<Counts>,
    out: Out,
    /// Where the same goes beside.
    records: Option<Records>,
}

/// Lines that were left out since the process began.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines were left out.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

impl Lines {
    /// Writes to standard error.
    pub fn to_stderr(form: Form) -> Lines {
        // Nobody can be told that nobody reads it.
        Lines::to(form, Box::new(|line| drop(io::stderr().lock().write_all(line))))
    }

    fn to(form: Form, out: Out) -> Lines {
        // A line is written by this program, and names its own things by words.
        let policy = Policy { types: WITH_FORM.to_vec(), ..Policy::all(PiiMode::Mask) };
        Lines { form, policy, counts: Mutex::default(), out, records: None }
    }

    /// Returns the same, which are sent to a collector, too.
    pub fn sent_to(self, records: Option<Records>) -> Lines {
        Lines { records, ..self }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clean(&self, text: &str) -> String {
        let mut text = match text.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        };
        while let Some(at) = text.find(TOKEN) {
            let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
            let rest = &text[at..];
            let end = at + rest.find(|it| !is_part(it)).unwrap_or(rest.len());
            text.replace_range(at..end, "[SECRET]");
        }
        redact_text(&text, &self.policy)
    }

    fn clean_fields(&self, fields: &mut Fields) {
        for (name, value) in &mut fields.0 {
            if let Json::String(text) = value
                && !PLAIN.contains(name)
            {
                *text = self.clean(text);
            }
        }
    }

    /// Writes an event, unless the same was written too often.
    fn event(&self, of: &Metadata<'static>, message: &str, fields: Fields, now: Instant) {
        let (level, target) = (*of.level(), of.target());
        if self.form == Form::Notes {
            return self.put(level, target, message, &fields);
        }
        let place = (of.file().unwrap_or_default(), of.line().unwrap_or_default());
        // One line for each answer is what was asked for.
        let same = if target == ACCESS { None } else { Some(message) };
        let (verdict, told) = self.counts().take(place, same, now);
        for Dropped { message, count } in told {
            let mut fields = Fields::default();
            fields.put("like", self.clean(&message).into());
            fields.put("left_out", count.into());
            self.put(Level::WARN, SUMMARY, "lines like this one were left out", &fields);
        }
        match verdict {
            Verdict::Write => self.put(level, target, message, &fields),
            Verdict::LeaveOut => drop(LEFT_OUT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn put(&self, level: Level, target: &str, message: &str, fields: &Fields) {
        let mut fields = fields.clone();
        if self.form != Form::Notes {
            self.clean_fields(&mut fields);
        }
        let line = match self.form {
            Form::Notes => note(level, message, &fields),
            Form::Text => self.text(level, message, &fields),
            Form::Json => self.json(level, target, message, &fields),
        };
        (self.out)(line.as_bytes());
        if let Some(records) = &self.records {
            records.take(level, target, &self.clean(message), &fields.0);
        }
    }

    fn json(&self, level: Level, target: &str, message: &str, fields: &Fields) -> String {
        let text = |it: &str| Json::from(it).to_string();
        let mut line = format!(
            r#"{{"ts":"{}","level":"{}","target":{},"msg":{}"#,
            clock::now(),
            level.as_str().to_lowercase(),
            text(target),
            text(&self.clean(message)),
        );
        // Our own words stay what they are.
        let is_ours = |it: &str| ["ts", "level", "target", "msg"].contains(&it);
        for (name, value) in fields.0.iter().filter(|it| !is_ours(it.0)) {
            let _ = write!(line, ",{}:{value}", text(name));
        }
        line + "}\n"
    }

    fn text(&self, level: Level, message: &str, fields: &Fields) -> String {
        let (level, message) = (level.as_str(), self.clean(message));
        let mut line = format!("{} {level:5} {}", clock::now(), one_line(&message));
        for (name, value) in &fields.0 {
            let _ = match value {
                Json::String(text) => write!(line, " {name}={}", one_line(text)),
                other => write!(line, " {name}={other}"),
            };
        }
        line + "\n"
    }
}

/// What a caller sent must not look like a line of its own.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1b}', "\\e")
}

fn note(level: Level, message: &str, fields: &Fields) -> String {
    let word = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        _ => "note",
    };
    match fields.get("code").and_then(Json::as_str) {
        Some(code) => format!("{word}: {message} ({code})\n"),
        None => format!("{word}: {message}\n"),
    }
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = match fields.take("message") {
            Some(Json::String(text)) => text,
            _ => String::new(),
        };
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.0 {
                    if fields.get(name).is_none() {
                        fields.put(name, value.clone());
                    }
                }
            }
        }
        self.event(event.metadata(), &message, fields, Instant::now());
    }
}

/// Fields of an event or a span, each once: a few, so they are looked through.
#[derive(Clone, Debug, Default)]
struct Fields(Vec<(&'static str, Json)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|it| it.0 == name).map(|it| &it.1)
    }

    fn put(&mut self, name: &'static str, value: Json) {
        match self.0.iter_mut().find(|it| it.0 == name) {
            Some(found) => found.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|it| it.0 == name)?;
        Some(self.0.remove(at).1)
    }

    fn note(&mut self, field: &Field, value: Json) {
        // Names with a dot are those of conventions for traces.
        if !field.name().contains('.') {
            self.put(field.name(), value);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }
}

/// Where an event stands in the program: file and line.
type Place = (&'static str, u32);

/// Lines of the present window.
struct Counts {
    begun: Instant,
    places: HashMap<Place, u64>,
    messages: HashMap<String, u64>,
    dropped: HashMap<String, u64>,
}

impl Default for Counts {
    fn default() -> Counts {
        let (places, messages) = (HashMap::new(), HashMap::new());
        Counts { begun: Instant::now(), places, messages, dropped: HashMap::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    LeaveOut,
}

/// Lines that were left out in a window.
struct Dropped {
    message: String,
    count: u64,
}

impl Counts {
    /// Counts a line; says whether it is written, and what was left out in the window before.
    fn take(
        &mut self,
        place: Place,
        message: Option<&str>,
        now: Instant,
    ) -> (Verdict, Vec<Dropped>) {
        let mut told = Vec::new();
        if now.duration_since(self.begun) >= WINDOW {
            let dropped = std::mem::take(&mut self.dropped);
            told = dropped.into_iter().map(|(message, count)| Dropped { message, count }).collect();
            told.sort_by(|a, b| a.message.cmp(&b.message));
            *self = Counts { begun: now, ..Counts::default() };
        }
        let of_place = self.places.entry(place).or_default();
        *of_place += 1;
        let of_place = *of_place;
        let Some(message) = message else {
            return match of_place <= PLACE_MAX {
                true => (Verdict::Write, told),
                false => (self.drop(ACCESS), told),
            };
        };
        let is_known = self.messages.contains_key(message);
        let same = match is_known || self.messages.len() < MESSAGES_MAX {
            true => {
                let same = self.messages.entry(message.to_owned()).or_default();
                *same += 1;
                *same
            }
            // So many different ones: they are counted by their place alone.
            false => 1,
        };
        match same <= SAME_MAX && of_place <= PLACE_MAX {
            true => (Verdict::Write, told),
            false => (self.drop(message), told),
        }
    }

    fn drop(&mut self, message: &str) -> Verdict {
        if self.dropped.len() < MESSAGES_MAX || self.dropped.contains_key(message) {
            *self.dropped.entry(message.to_owned()).or_default() += 1;
        }
        Verdict::LeaveOut
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn lines(form: Form, work: impl FnOnce()) -> Vec<String> {
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&written);
        let out = Box::new(move |line: &[u8]| to.lock().unwrap().extend_from_slice(line));
        let subscriber = tracing_subscriber::registry().with(Lines::to(form, out));
        tracing::subscriber::with_default(subscriber, work);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        written.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_has_the_fields_of_its_spans() {
        let written = lines(Form::Json, || {
            let span = tracing::info_span!("request", request_id = "r1", tenant_id = "t1");
            let _entered = span.enter();
            tracing::warn!(code = "busy", count = 3, is_late = true, "the disk is slow");
        });
        let line: Json = serde_json::from_str(&written[0]).unwrap();
        let shown = ["level", "msg", "code", "count", "is_late", "request_id", "tenant_id"]
            .map(|it| line[it].to_string());
        let expected =
            [r#""warn""#, r#""the disk is slow""#, r#""busy""#, "3", "true", r#""r1""#, r#""t1""#];
        assert_eq!(shown, expected);
        assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
        assert!(line["target"].as_str().unwrap().contains("line"), "{line}");
    }

    #[test]
    fn nothing_personal_and_no_secret_is_written() {
        let secrets = [
            "ada@example.org",
            "trv_rt_abcDEF-123",
            "trv_live_x",
            "sk-abcdefghijklmnopqrstuvwxyz",
            "4111 1111 1111 1111",
            "192.168.7.9",
        ];
        for form in [Form::Json, Form::Text] {
            let written = lines(form, || {
                for it in secrets {
                    tracing::error!(why = it, "refused: {it} was sent");
                }
            });
            assert_eq!(written.len(), secrets.len());
            let all = written.concat();
            for it in secrets {
                assert!(!all.contains(it), "`{it}` stands in {all}");
            }
        }
    }

    #[test]
    fn text_stays_on_one_line_and_notes_are_those_of_commands() {
        let work = || tracing::warn!(code = "tree_failed", "one\ntwo\u{1b}[31m");
        let written = lines(Form::Text, work);
        assert_eq!(written.len(), 1);
        assert!(written[0].ends_with(r"WARN  one\ntwo\e[31m code=tree_failed"), "{written:?}");
        let note = || tracing::info!("it goes on");
        assert_eq!(lines(Form::Notes, note), ["note: it goes on"]);
        let warning = || tracing::warn!(code = "busy", "it waits");
        assert_eq!(lines(Form::Notes, warning), ["warning: it waits (busy)"]);
    }

    #[test]
    fn a_flood_is_written_in_part_and_the_rest_is_told() {
        let before = left_out();
        let written = lines(Form::Json, || (0..500).for_each(|_| tracing::info!("again")));
        assert_eq!(written.len() as u64, SAME_MAX);
        assert!(left_out() - before >= 480);
    }

    #[test]
    fn what_was_left_out_is_told_in_the_next_window() {
        let (mut counts, begun) = (Counts::default(), Instant::now());
        let mut take = |message: &str, after: Duration| {
            let (verdict, told) = counts.take(("here.rs", 1), Some(message), begun + after);
            (verdict, told.into_iter().map(|it| (it.message, it.count)).collect::<Vec<_>>())
        };
        for _ in 0..SAME_MAX {
            assert_eq!(take("a", Duration::ZERO), (Verdict::Write, vec![]));
        }
        assert_eq!(take("a", Duration::ZERO), (Verdict::LeaveOut, vec![]));
        assert_eq!(take("a", Duration::ZERO), (Verdict::LeaveOut, vec![]));
        assert_eq!(take("b", Duration::ZERO), (Verdict::Write, vec![]));
        let told = vec![("a".to_owned(), 2)];
        assert_eq!(take("b", WINDOW * 2), (Verdict::Write, told));
        for number in 0..PLACE_MAX * 2 {
            let expected = if number < PLACE_MAX - 1 { Verdict::Write } else { Verdict::LeaveOut };
            assert_eq!(take(&format!("c{number}"), WINDOW * 2).0, expected, "{number}");
        }
        assert!(counts.messages.len() <= MESSAGES_MAX && counts.dropped.len() <= MESSAGES_MAX);
    }
}
