//! `cache`: values of bodies that succeeded; one body of a key runs at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use traaviis_model::{
    CallId, EffectError, Text, Timestamp, Value,
    limits::{CACHE_BYTES_MAX, CACHE_VALUE_BYTES_MAX},
};

use super::{Answers, Entry, Left, Name, crowded, span};

/// What an entry takes besides its key and value.
const ENTRY_BYTES: usize = 96;

/// The cached values of a tenant.
#[derive(Debug, Default)]
pub(super) struct Cache {
    keys: BTreeMap<Name, Key>,
    /// Keys by the events that make their values stale.
    listening: BTreeMap<Text, BTreeSet<Name>>,
    /// Keys with values, oldest first.
    order: BTreeMap<u64, Name>,
    kept: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Key {
    value: Option<Kept>,
    /// Whose body runs, and how long its value will hold.
    leader: Option<(CallId, i64)>,
    waiting: VecDeque<(CallId, i64)>,
    /// Events that make the value stale.
    events: Vec<Text>,
    /// Such an event came while the body ran, so its value is already old.
    is_stale: bool,
}

#[derive(Debug)]
struct Kept {
    value: Value,
    bytes: usize,
    until: Timestamp,
    /// Its place in the order.
    number: u64,
}

impl Cache {
    pub(super) fn enter(
        &mut self,
        id: &CallId,
        name: Name,
        ask: &Value,
        now: Timestamp,
    ) -> Result<Entry, EffectError> {
        let ttl = span(ask, "ttl", Some("1h"))?;
        self.listen(&name, ask);
        let key = self.keys.entry(name).or_default();
        if let Some(kept) = key.value.as_ref().filter(|it| now < it.until) {
            return Ok(Entry::Hit(kept.value.clone()));
        }
        match &key.leader {
            Some((leader, _)) if leader != id => {
                if !key.waiting.iter().any(|(it, _)| it == id) {
                    crowded(key.waiting.len())?;
                    key.waiting.push_back((id.clone(), ttl));
                }
                Ok(Entry::Wait)
            }
            _ => {
                if key.leader.is_none() {
                    key.is_stale = false;
                }
                key.leader = Some((id.clone(), ttl));
                Ok(Entry::Pass)
            }
        }
    }

    /// Notes which events make the value of a key stale, as whoever asks last says.
    fn listen(&mut self, name: &Name, ask: &Value) {
        let events = ask.get("invalidate_on").and_then(Value::as_list).unwrap_or_default();
        let events: Vec<Text> = events.iter().filter_map(Value::as_str).map(Text::from).collect();
        let key = self.keys.entry(name.clone()).or_default();
        if key.events == events {
            return;
        }
        let former = std::mem::replace(&mut key.events, events.clone());
        self.ignore(name, &former);
        for event in events {
            self.listening.entry(event).or_default().insert(name.clone());
        }
    }

    fn ignore(&mut self, name: &Name, events: &[Text]) {
        for event in events {
            if let Some(names) = self.listening.get_mut(event) {
                names.remove(name);
                if names.is_empty() {
                    self.listening.remove(event);
                }
            }
        }
    }

    /// Drops the values that an event makes stale, and will not keep those that are being made.
    pub(super) fn invalidate(&mut self, event: &str) {
        let names = self.listening.get(event).cloned().unwrap_or_default();
        for name in &names {
            self.drop_value(name);
            let Some(key) = self.keys.get_mut(name) else { continue };
            match key.leader {
                Some(_) => key.is_stale = true,
                None => self.remove(name),
            }
        }
    }

    fn remove(&mut self, name: &Name) {
        if let Some(key) = self.keys.remove(name) {
            self.ignore(name, &key.events);
        }
    }

    pub(super) fn leave(
        &mut self,
        id: &CallId,
        name: &Name,
        left: Left,
        now: Timestamp,
    ) -> Answers {
        let Some(key) = self.keys.get_mut(name) else { return Vec::new() };
        let Some((_, ttl)) = key.leader.take_if(|(leader, _)| leader == id) else {
            return Vec::new();
        };
        let is_stale = std::mem::take(&mut key.is_stale);
        let value = match left {
            Left::Done(value) if !is_stale => value,
            _ => return self.lead_next(name),
        };
        let waiting = std::mem::take(&mut key.waiting);
        let answers = waiting.into_iter().map(|(it, _)| (it, Entry::Hit(value.clone()))).collect();
        self.keep(name, value, Timestamp(now.0.saturating_add(ttl)));
        answers
    }

    pub(super) fn forget(&mut self, id: &CallId, name: &Name) -> Answers {
        let Some(key) = self.keys.get_mut(name) else { return Vec::new() };
        key.waiting.retain(|(it, _)| it != id);
        match key.leader.take_if(|(leader, _)| leader == id) {
            Some(_) => {
                key.is_stale = false;
                self.lead_next(name)
            }
            None => Vec::new(),
        }
    }

    pub(super) fn restore(&mut self, id: CallId, name: Name, ask: &Value) {
        let ttl = span(ask, "ttl", Some("1h")).unwrap_or_default();
        self.listen(&name, ask);
        self.keys.entry(name).or_default().leader = Some((id, ttl));
    }

    /// The body failed: who waits longest tries next.
    fn lead_next(&mut self, name: &Name) -> Answers {
        let Some(key) = self.keys.get_mut(name) else { return Vec::new() };
        key.leader = key.waiting.pop_front();
        match &key.leader {
            Some((next, _)) => vec![(next.clone(), Entry::Pass)],
            None => {
                if key.value.is_none() {
                    self.remove(name);
                }
                Vec::new()
            }
        }
    }

    fn keep(&mut self, name: &Name, value: Value, until: Timestamp) {
        let bytes = value.json_len() + name.1.len() + name.2.len() + ENTRY_BYTES;
        self.drop_value(name);
        if bytes > CACHE_VALUE_BYTES_MAX {
            self.remove(name);
            return;
        }
        self.kept += 1;
        self.bytes += bytes;
        self.order.insert(self.kept, name.clone());
        let kept = Kept { value, bytes, until, number: self.kept };
        self.keys.entry(name.clone()).or_default().value = Some(kept);
        while self.bytes > CACHE_BYTES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.drop_value(&oldest);
            if self.keys.get(&oldest).is_some_and(|it| it.leader.is_none()) {
                self.remove(&oldest);
            }
        }
    }

    fn drop_value(&mut self, name: &Name) {
        let kept = self.keys.get_mut(name).and_then(|it| it.value.take());
        if let Some(kept) = kept {
            self.bytes -= kept.bytes;
            self.order.remove(&kept.number);
        }
    }
}
