//! How messages get to their receivers: one at a time for each webhook, in the order of the log.
//!
//! A webhook reads along with the log from where it has come. What its receiver does not take is
//! tried again, with longer and longer rests, and what follows waits for it; after the last attempt
//! it is given up, noted, and can be sent again by hand.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use traaviis_model::{Record, Span, TenantCtx, TenantId, Text, record::peek_line};
use traaviis_ports::Position;

use super::{
    DELIVERIES_MAX, Delivery, Progress, Webhook, absent,
    message::{Message, told_as},
};
use crate::{
    audit::Act,
    caller::Entered,
    engine::{Engine, PostAsk},
    error::Error,
    ledger::Document as _,
    platform::{Platform, engine as by_itself},
};

/// Rests after failed attempts; after the last one a message is given up, about a day later.
const RESTS: &[Span] = &[
    Span::secs(5),
    Span::secs(30),
    Span::secs(2 * 60),
    Span::secs(10 * 60),
    Span::secs(30 * 60),
    Span::secs(3_600),
    Span::secs(3 * 3_600),
    Span::secs(6 * 3_600),
    Span::secs(12 * 3_600),
];
/// Rest of a webhook that cannot be told for a reason of our own, such as a key that is damaged.
const FAILED_REST: Duration = Duration::from_secs(5);
/// Messages of a webhook that are read ahead.
const QUEUE_MAX: usize = 64;
/// Deliveries that are noted together; after a crash they may be told once more.
const NOTED_MAX: usize = 32;
/// How long a delivery may wait to be noted with others.
const NOTE_AFTER: Duration = Duration::from_millis(500);
/// Positions after which it is noted how far a webhook has read that was told nothing.
const NOTE_POSITIONS: Position = 100_000;
/// Characters of an error that are kept.
const ERROR_CHARS: usize = 200;

type Key = (TenantId, Text);

/// Tells webhooks.
#[derive(Debug)]
pub struct WebhookSender {
    feeds: HashMap<Key, Feed>,
    answers: Receiver<(Key, Position, Result<u16, Error>)>,
    answer: Sender<(Key, Position, Result<u16, Error>)>,
}

/// What is told to one webhook.
#[derive(Debug)]
struct Feed {
    webhook: Webhook,
    /// Up to here the log was read.
    read_to: Position,
    /// Up to here it is noted.
    noted_to: Position,
    queue: VecDeque<Message>,
    is_under_way: bool,
    attempts: u32,
    due: Option<Instant>,
    /// Outcomes that are not noted yet.
    outcomes: Vec<Delivery>,
    since: Instant,
}

impl Default for WebhookSender {
    fn default() -> WebhookSender {
        let (answer, answers) = channel();
        WebhookSender { feeds: HashMap::new(), answers, answer }
    }
}

impl WebhookSender {
    /// Tells every webhook what is due, and waits at most `rest` for answers; says whether any
    /// message is under way.
    pub fn carry_on(
        &mut self,
        platform: &Platform,
        engine: &dyn Engine,
        rest: Duration,
    ) -> Result<bool, Error> {
        let open = platform.lookup(|it| it.webhooks().clone());
        // One that fails keeps no other from being told.
        let mut failed = self.keep(platform, &open).err();
        for key in &open {
            let Err(error) = self.one(platform, engine, key) else { continue };
            if let Some(feed) = self.feeds.get_mut(key) {
                feed.due = Some(Instant::now() + FAILED_REST);
            }
            failed.get_or_insert(error);
        }
        let is_under_way = self.feeds.values().any(|it| it.is_under_way);
        // Nobody waits for the first message of a webhook that was just made.
        let rest = if self.feeds.is_empty() { rest * 10 } else { rest };
        if let Ok(answer) = self.answers.recv_timeout(rest) {
            self.answered(platform, answer);
            while let Ok(answer) = self.answers.try_recv() {
                self.answered(platform, answer);
            }
        }
        for (key, feed) in &mut self.feeds {
            failed = failed.or(feed.note(platform, key).err());
        }
        failed.map_or(Ok(is_under_way), Err)
    }

    /// Begins to tell new webhooks, and forgets those that are gone.
    fn keep(&mut self, platform: &Platform, open: &BTreeSet<Key>) -> Result<(), Error> {
        self.feeds.retain(|key, _| open.contains(key));
        let mut failed = Ok(());
        for key in open.iter().filter(|key| !self.feeds.contains_key(key)).collect::<Vec<_>>() {
            let keeper = TenantCtx::keeper_of(key.0);
            let (webhook, progress) = platform
                .ledgers
                .read(&keeper, |it| (it.get::<Webhook>(&key.1), it.get::<Progress>(&key.1)));
            let (webhook, progress) = match (webhook, progress) {
                (Ok(Some(webhook)), Ok(progress)) => (webhook, progress),
                (Ok(None), Ok(_)) => continue,
                (Err(error), _) | (_, Err(error)) => {
                    failed = Err(error);
                    continue;
                }
            };
            let read_to = progress.map_or(webhook.from, |it| it.position);
            let feed = Feed {
                webhook,
                read_to,
                noted_to: read_to,
                queue: VecDeque::new(),
                is_under_way: false,
                attempts: 0,
                due: None,
                outcomes: Vec::new(),
                since: Instant::now(),
            };
            self.feeds.insert(key.clone(), feed);
        }
        failed
    }

    fn one(&mut self, platform: &Platform, engine: &dyn Engine, key: &Key) -> Result<(), Error> {
        let Some(feed) = self.feeds.get_mut(key) else { return Ok(()) };
        if feed.is_under_way || feed.due.is_some_and(|it| it > Instant::now()) {
            return Ok(());
        }
        if feed.queue.is_empty() {
            feed.read(platform, key.0)?;
        }
        let Some(message) = feed.queue.front() else { return Ok(()) };
        let keeper = TenantCtx::keeper_of(key.0);
        let Some(secret) = platform.secret_of(&keeper, &feed.webhook)? else { return Ok(()) };
        let post = post_of(&feed.webhook, message, &secret, platform);
        let (answer, key, position) = (self.answer.clone(), key.clone(), message.position);
        feed.is_under_way = true;
        let reply = Box::new(move |told| {
            // The process may be stopping.
            let _ = answer.send((key, position, told));
        });
        engine.post(&keeper, post, reply);
        Ok(())
    }

    fn answered(
        &mut self,
        platform: &Platform,
        (key, position, told): (Key, Position, Result<u16, Error>),
    ) {
        let Some(feed) = self.feeds.get_mut(&key) else { return };
        feed.is_under_way = false;
        feed.attempts += 1;
        let rest = RESTS.get(feed.attempts as usize - 1);
        let is_gone = matches!(told, Ok(410));
        let is_taken = matches!(told, Ok(200..=299));
        if let (false, false, Some(rest)) = (is_taken, is_gone, rest) {
            feed.due = Some(Instant::now() + Duration::from_micros(rest.0.unsigned_abs()));
            return;
        }
        let Some(message) = feed.queue.pop_front() else { return };
        debug_assert_eq!(message.position, position, "one message at a time");
        let delivery = delivery_of(&feed.webhook, &message, feed.attempts, told, platform);
        if feed.outcomes.is_empty() {
            feed.since = Instant::now();
        }
        feed.outcomes.push(delivery);
        (feed.attempts, feed.due) = (0, None);
        feed.webhook.is_gone |= is_gone;
    }
}

fn post_of(webhook: &Webhook, message: &Message, secret: &[u8], platform: &Platform) -> PostAsk {
    let headers = message.headers(secret, platform.wall());
    PostAsk {
        url: webhook.url.clone(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        body: message.body.clone(),
    }
}

fn delivery_of(
    webhook: &Webhook,
    message: &Message,
    attempts: u32,
    told: Result<u16, Error>,
    platform: &Platform,
) -> Delivery {
    let (status, error) = match &told {
        Ok(status) => (Some(*status), None),
        Err(error) => (None, Some(error.message.chars().take(ERROR_CHARS).collect())),
    };
    Delivery {
        webhook: webhook.id.clone(),
        position: message.position,
        instance: message.instance,
        seq: message.seq,
        kind: message.kind.clone(),
        delivered: matches!(told, Ok(200..=299)),
        attempts,
        status,
        error,
        at: platform.now(),
    }
}

impl Feed {
    /// Reads on in the log.
    fn read(&mut self, platform: &Platform, tenant: TenantId) -> Result<(), Error> {
        if self.read_to >= platform.ledgers.tail() {
            return Ok(());
        }
        let mut read_to = self.read_to;
        platform.ledgers.scan_while(self.read_to, &mut |line| {
            read_to = line.position + 1;
            let is_ours = peek_line(line.bytes).is_ok_and(|it| it.tenant_id == tenant);
            if is_ours
                && let Ok(record) = Record::read_line(line.bytes)
                && self.webhook.events.iter().any(|it| **it == *told_as(&record))
            {
                self.queue.push_back(Message::of(&record, line.position));
            }
            self.queue.len() < QUEUE_MAX
        })?;
        self.read_to = read_to;
        Ok(())
    }

    /// Notes how far it has come, when there is something to note.
    fn note(&mut self, platform: &Platform, key: &Key) -> Result<(), Error> {
        // What waits is told again by the next process.
        let position = self.queue.front().map_or(self.read_to, |it| it.position);
        let is_due = self.outcomes.len() >= NOTED_MAX
            || (!self.outcomes.is_empty() && self.since.elapsed() >= NOTE_AFTER)
            || position - self.noted_to >= NOTE_POSITIONS;
        if !is_due {
            return Ok(());
        }
        let keeper = TenantCtx::keeper_of(key.0);
        let known = platform.deliveries_of(&keeper, &key.1, DELIVERIES_MAX * 2)?;
        let old = known.iter().skip(DELIVERIES_MAX.saturating_sub(self.outcomes.len()));
        let old: Vec<Text> = old.map(|it| it.id()).collect();
        platform.ledgers.change(&keeper, &by_itself(), |documents, changes| {
            let Some(mut webhook) = documents.get::<Webhook>(&key.1)? else { return Ok(()) };
            changes.put(&Progress { id: key.1.clone(), position });
            old.iter().for_each(|it| changes.remove::<Delivery>(it));
            self.outcomes.iter().for_each(|it| changes.put(it));
            if self.webhook.is_gone && !webhook.is_gone {
                webhook.is_gone = true;
                changes.put(&webhook);
                changes.act(Act::done("webhook.gone", Webhook::KIND, key.1.clone()));
            }
            Ok(())
        })?;
        self.outcomes.clear();
        self.noted_to = position;
        Ok(())
    }
}

impl Platform {
    /// Tells a webhook once more what it was told at a position of the log; returns what became of
    /// it.
    pub fn redeliver(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        id: &str,
        position: Position,
    ) -> Result<Delivery, Error> {
        let webhook = self.webhook(entered, id)?.it;
        let known = self.deliveries(entered, id, usize::MAX)?;
        let known = known.into_iter().find(|it| it.position == position);
        let known = known.ok_or_else(|| Error::not_found("delivery", &position.to_string()))?;
        let keeper = TenantCtx::keeper_of(entered.ctx.tenant());
        let secret = self.secret_of(&keeper, &webhook)?.ok_or_else(|| absent(id))?;
        let lines = self.ledgers.read_stream(&keeper, known.instance, known.seq)?;
        let record = lines.and_then(|it| Record::read_line(&it).ok()).ok_or_else(|| {
            Error::new("not_found", "the record that it was about is not kept any more")
        })?;
        let message = Message::of(&record, position);
        let (sender, receiver) = channel();
        let reply = Box::new(move |told| {
            // The request may have been given up.
            let _ = sender.send(told);
        });
        engine.post(&keeper, post_of(&webhook, &message, &secret, self), reply);
        let stopping = |_| Err(Error::new("stopping", "the process is stopping; try again"));
        let told = receiver.recv().unwrap_or_else(stopping);
        let delivery = delivery_of(&webhook, &message, known.attempts + 1, told, self);
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.put(&delivery);
            changes.act(Act::done("webhook.redelivered", Webhook::KIND, id));
            Ok(())
        })?;
        Ok(delivery)
    }
}
