//! Answers that are kept for repetitions: the same key with the same body gets the first answer.
//!
//! They are kept in memory, so a restart forgets them; what must not happen twice whatever happens
//! is given an id of its own by the caller (`id` of a start or an event).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use traaviis_model::{Span, Timestamp};
use traaviis_platform::Error;

use crate::handle::Answer;

/// How long an answer is kept.
const KEPT: Span = Span::secs(24 * 3_600);
/// Answers kept at most; beyond it the oldest goes.
const ANSWERS_MAX: usize = 10_000;
/// Bytes of an answer that is kept; a longer one is not.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of a key.
const KEY_CHARS_MAX: usize = 128;

/// Answers by caller, route and key.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    body: [u8; 32],
    at: Timestamp,
    /// None while the first request is being answered.
    answer: Option<Answer>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is the first.
    First(String),
    /// It was answered before.
    Again(Answer),
}

impl Answers {
    /// Says whether a request is a repetition.
    pub fn begin(
        &self,
        caller: &str,
        path: &str,
        key: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Turn, Error> {
        let is_good = !key.is_empty()
            && key.chars().count() <= KEY_CHARS_MAX
            && !key.chars().any(char::is_control);
        if !is_good {
            let rule = format!("a key has 1 to {KEY_CHARS_MAX} characters");
            return Err(Error::invalid("Idempotency-Key", rule));
        }
        let name = format!("{caller}\n{path}\n{key}");
        let body: [u8; 32] = Sha256::digest(body).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(&name).filter(|it| now.since(it.at) <= KEPT) {
            if found.body != body {
                let message = "this key was used with another body; take a new one";
                return Err(Error::new("idempotency_key_reused", message));
            }
            return match &found.answer {
                Some(answer) => Ok(Turn::Again(answer.clone())),
                None => Err(Error::new(
                    "request_in_progress",
                    "the first request with this key is being answered; try again in a moment",
                )),
            };
        }
        if kept.len() >= ANSWERS_MAX {
            kept.retain(|_, it| now.since(it.at) <= KEPT);
            if kept.len() >= ANSWERS_MAX
                && let Some(oldest) =
                    kept.iter().min_by_key(|(_, it)| it.at).map(|(name, _)| name.clone())
            {
                kept.remove(&oldest);
            }
        }
        kept.insert(name.clone(), Kept { body, at: now, answer: None });
        Ok(Turn::First(name))
    }

    /// Keeps the answer to the first request; a refusal is not kept, so that it can be tried again.
    pub fn end(&self, name: &str, answer: Option<&Answer>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match answer.filter(|it| it.body.len() <= ANSWER_BYTES_MAX) {
            Some(answer) => {
                if let Some(found) = kept.get_mut(name) {
                    found.answer = Some(answer.clone());
                }
            }
            None => drop(kept.remove(name)),
        }
    }
}
