//! Repetitions: the same key with the same body gets the first answer.
//!
//! [`Answers`] knows which requests are being answered, and the last answers; all others rest with
//! the platform, see [`traaviis_platform::repeated`]. Whoever asks goes through [`begin`], and
//! through [`end`] with what came of it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use traaviis_api::{Method, Op, Operation};
use traaviis_model::{Text, Timestamp};
use traaviis_platform::{
    Caller, Entered, Error, Platform,
    repeated::{ANSWER_BYTES_MAX, Repeated, RequestKey, UsedKey},
};

use crate::{App, handle::Answer, request::Request};

/// Answers in memory; older ones are looked up where they rest.
const ANSWERS_MAX: usize = 1_000;

/// Requests that are being answered, and the last answers, by who asked for what with which key.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_name: HashMap<Text, One>,
    /// Those that are answered, the oldest first.
    order: VecDeque<Text>,
}

#[derive(Clone, Debug)]
struct One {
    key: RequestKey,
    at: Timestamp,
    /// None while the first request is being answered.
    answer: Option<Answer>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is the first.
    First,
    /// It was answered before.
    Again(Answer),
    /// It was carried out before, and its answer is lost.
    Done(UsedKey),
}

/// Returns the key of a request, when it has one that counts.
pub(crate) fn key_of(
    app: &App,
    row: &Operation,
    request: &Request,
    caller: &Caller,
) -> Result<Option<RequestKey>, Error> {
    match request.idempotency_key.as_deref().filter(|_| row.method == Method::Post) {
        Some(key) => {
            // `current` in a path is another tenant after a switch.
            let tenant = app.platform.resolve_at_once(caller, request.part("t"));
            let tenant = tenant.map(|it| it.to_string()).unwrap_or_default();
            let mut who = format!("{} {tenant}{}", caller.actor().text(), caller.limits());
            for named in request.tenants.iter().chain(&request.host_tenant) {
                who.extend([" in ", named]);
            }
            RequestKey::new(&who, &request.path, key, &request.body).map(Some)
        }
        None => Ok(None),
    }
}

/// Says of an operation whether what it does is many things, each with an id of its own by which
/// the engine knows it; then it is done again where the answer is lost, and only what is missing.
pub(crate) fn is_of_many(op: Op) -> bool {
    matches!(op, Op::SendEvents | Op::Broadcast)
}

/// Says whether a request is a repetition. What comes back as [`Turn::First`] must be told to
/// [`end`], whatever comes of it. It may wait for the disk.
pub(crate) fn begin(
    app: &App,
    row: &Operation,
    entered: Option<&Entered>,
    key: &RequestKey,
) -> Result<Turn, Error> {
    if let Some(answer) = app.answers.begin(key, app.platform.now())? {
        return Ok(Turn::Again(answer));
    }
    let found = match app.platform.find_repeated(entered, key) {
        Ok(Repeated::No) => return Ok(Turn::First),
        Ok(Repeated::Done(_)) if is_of_many(row.op) => return Ok(Turn::First),
        Ok(Repeated::Answered(bytes)) => read(&bytes).map(Turn::Again),
        Ok(Repeated::Done(used)) => Ok(Turn::Done(used)),
        Err(error) => Err(error),
    };
    app.answers.remove(key);
    found
}

/// Keeps the answer to a request that was the first; a refusal is not kept, so that it can be tried
/// again. It may wait for the disk.
pub(crate) fn end(app: &App, entered: Option<&Entered>, key: &RequestKey, answer: Option<&Answer>) {
    let kept = match answer {
        Some(answer) => keep(&app.platform, entered, key, answer),
        None => app.platform.keep_refusal(entered, key),
    };
    if let Err(error) = kept {
        // The answer goes out all the same, and this process remembers it.
        (app.tell)(&format!("the answer to a request with a key cannot be kept: {error}"));
    }
    app.answers.end(key, answer, app.platform.now());
}

fn keep(
    platform: &Platform,
    entered: Option<&Entered>,
    key: &RequestKey,
    answer: &Answer,
) -> Result<(), Error> {
    let Answer { status, body, version, parts: _, headers: _, location } = answer;
    let head = Head { status: *status, version: *version, location: location.clone() };
    platform.keep_answer(entered, key, &written(&head, body)?)
}

/// What an answer that rests begins with, in a line of its own; the body follows as it went out.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    version: Option<u64>,
    location: Option<String>,
}

fn written(head: &Head, body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec(head)
        .map_err(|error| Error::new("internal", format!("an answer cannot be kept: {error}")))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn read(bytes: &[u8]) -> Result<Answer, Error> {
    let end = bytes.iter().position(|it| *it == b'\n').unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(end);
    let Head { status, version, location } = serde_json::from_slice(head).map_err(|error| {
        Error::new("internal", format!("an answer that was kept cannot be read: {error}"))
    })?;
    let body = body.get(1..).unwrap_or_default().to_vec();
    Ok(Answer { status, body, version, parts: None, headers: Vec::new(), location })
}

impl Answers {
    /// Returns the answer to a request that was answered a while ago; otherwise the request is
    /// being answered from now on.
    fn begin(&self, key: &RequestKey, now: Timestamp) -> Result<Option<Answer>, Error> {
        let mut kept = self.kept();
        if let Some(found) =
            kept.by_name.get(key.name()).filter(|it| now.since(it.at) <= key.kept())
        {
            key.needs_body(found.key.body())?;
            return match &found.answer {
                Some(answer) => Ok(Some(answer.clone())),
                None => Err(Error::new(
                    "request_in_progress",
                    "the first request with this key is being answered; try again in a moment",
                )),
            };
        }
        let one = One { key: key.clone(), at: now, answer: None };
        kept.by_name.insert(key.name().clone(), one);
        Ok(None)
    }

    fn end(&self, key: &RequestKey, answer: Option<&Answer>, now: Timestamp) {
        let mut kept = self.kept();
        let Some(answer) = answer.filter(|it| it.body.len() <= ANSWER_BYTES_MAX) else {
            kept.by_name.remove(key.name());
            return;
        };
        let one = One { key: key.clone(), at: now, answer: Some(answer.clone()) };
        kept.by_name.insert(key.name().clone(), one);
        kept.order.push_back(key.name().clone());
        while kept.order.len() > ANSWERS_MAX {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.by_name.remove(&oldest);
        }
    }

    fn remove(&self, key: &RequestKey) {
        self.kept().by_name.remove(key.name());
    }

    /// Forgets all answers: they may hold what is about somebody who is erased.
    pub fn forget(&self) {
        let mut kept = self.kept();
        kept.by_name.retain(|_, it| it.answer.is_none());
        kept.order.clear();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        let (status, body, headers) = (201, body.as_bytes().to_vec(), Vec::new());
        let location = Some("/api/v1/x".into());
        Answer { status, body, version: Some(7), parts: None, headers, location }
    }

    #[test]
    fn one_answers_at_a_time_and_the_last_answers_are_remembered() {
        let answers = Answers::default();
        let key = |it: usize| RequestKey::new("user:1", "/a", &it.to_string(), b"{}").unwrap();
        let now = Timestamp(0);
        assert!(answers.begin(&key(0), now).unwrap().is_none());
        assert_eq!(answers.begin(&key(0), now).unwrap_err().code, "request_in_progress");
        answers.end(&key(0), None, now);
        assert!(answers.begin(&key(0), now).unwrap().is_none(), "a refusal can be tried again");
        answers.end(&key(0), Some(&answer("{}")), now);
        assert_eq!(answers.begin(&key(0), now).unwrap().unwrap().body, b"{}");
        let other = RequestKey::new("user:1", "/a", "0", b"[]").unwrap();
        assert_eq!(answers.begin(&other, now).unwrap_err().code, "idempotency_key_reused");
        for it in 1..=ANSWERS_MAX {
            answers.begin(&key(it), now).unwrap();
            answers.end(&key(it), Some(&answer("{}")), now);
        }
        assert!(answers.begin(&key(0), now).unwrap().is_none(), "it is looked up where it rests");
        assert!(answers.begin(&key(1), now).unwrap().is_some());
        answers.forget();
        assert!(answers.begin(&key(1), now).unwrap().is_none());
        assert_eq!(answers.begin(&key(0), now).unwrap_err().code, "request_in_progress");
    }

    #[test]
    fn an_answer_rests_as_it_went_out() {
        for body in ["", r#"{"b":1,"a":"2.50"}"#] {
            let it = answer(body);
            let (status, version) = (it.status, it.version);
            let head = Head { status, version, location: it.location.clone() };
            let read = read(&written(&head, &it.body).unwrap()).unwrap();
            assert_eq!((read.status, &read.body, read.version), (it.status, &it.body, it.version));
            assert_eq!(read.location, it.location);
        }
    }
}
