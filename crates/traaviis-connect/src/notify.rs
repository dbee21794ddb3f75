//! Notifications: who is told through which channel, and telling them.
//!
//! The connectors file binds patterns of recipients to channels: the log of the process, a file of
//! JSON lines, or a webhook. Delivery is at least once; each message carries a key by which a
//! receiver knows it again.

use std::{io::Write, path::Path, path::PathBuf};

use reqwest::Method;
use traaviis_model::{
    Call, EffectError, Map, Text, Value,
    document::tree::{Node, NodeKind},
};
use traaviis_ports::Outcome;
use url::Url;

use crate::{
    file::{Reader, join},
    http::{
        Client, Expect, RESPONSE_BYTES_DEFAULT, Request, add_identity, invalid, is_retryable,
        read_headers,
    },
    secret::Vault,
};

/// Recipients of one `notify`; more is a mailing, which is no workflow step.
const RECIPIENTS_MAX: usize = 100;
const KINDS: [&str; 5] = ["user", "role", "email", "webhook", "channel"];

/// Where notifications go, by pattern of recipient.
#[derive(Debug, Default)]
pub struct Channels(Vec<(Text, Vec<Channel>)>);

#[derive(Debug)]
enum Channel {
    /// Standard error of the process, a line each.
    Log,
    /// A file of JSON lines.
    File(PathBuf),
    Webhook {
        /// Text or a secret, as addresses often hold one.
        url: Value,
        headers: Map,
    },
}

impl Channel {
    fn name(&self) -> &'static str {
        match self {
            Channel::Log => "log",
            Channel::File(_) => "file",
            Channel::Webhook { .. } => "webhook",
        }
    }
}

impl Channels {
    /// Says whether nobody can be told anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets paths of files begin at a folder: that of the connectors file.
    pub fn beside(&mut self, folder: &Path) {
        for (_, channels) in &mut self.0 {
            for channel in channels {
                if let Channel::File(path) = channel {
                    *path = folder.join(&*path);
                }
            }
        }
    }

    /// Reads the `notify` part of a connectors file: pattern -> channel or list of channels.
    pub(crate) fn read(reader: &mut Reader, node: &Node, path: &str) -> Channels {
        let mut read = Vec::new();
        for (pattern, value, path) in reader.entries(node, path, &[]) {
            if !is_pattern(pattern) {
                let message = format!(
                    "`{pattern}` is no recipient such as `role:support`, `role:*` or `*`; kinds \
                     are {}",
                    KINDS.join(", ")
                );
                reader.wrong(value, &path, message);
            }
            let items = match &value.kind {
                NodeKind::List(items) => items.iter().collect(),
                _ => vec![value],
            };
            let channels = items.into_iter().enumerate().filter_map(|(at, item)| {
                Channel::read(reader, item, &join(&path, &at.to_string()))
            });
            read.push((pattern.into(), channels.collect()));
        }
        Channels(read)
    }

    /// Returns the channels of a recipient: the exact name beats the longest prefix beats `*`.
    fn of(&self, to: &str) -> Option<&[Channel]> {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => to.starts_with(prefix),
            None => pattern == to,
        };
        let rank = |pattern: &str| (!pattern.ends_with('*'), pattern.len());
        let fitting = self.0.iter().filter(|(pattern, _)| fits(pattern));
        fitting.max_by_key(|(pattern, _)| rank(pattern)).map(|(_, channels)| channels.as_slice())
    }
}

impl Channel {
    fn read(reader: &mut Reader, node: &Node, path: &str) -> Option<Channel> {
        if let NodeKind::String(text) = &node.kind
            && &**text == "log"
        {
            return Some(Channel::Log);
        }
        if !matches!(node.kind, NodeKind::Map(_)) {
            let message = "a channel is `log`, `{file: PATH}` or `{webhook: URL, headers: {}}`";
            reader.wrong(node, path, message);
            return None;
        }
        let (mut file, mut url, mut headers) = (None, None, Map::new());
        for (key, value, path) in reader.entries(node, path, &["file", "webhook", "headers"]) {
            match key {
                "file" => file = reader.text(value, &path).map(|it| PathBuf::from(&*it)),
                "webhook" => url = read_url(reader, value, &path),
                _ => headers = reader.headers(value, &path),
            }
        }
        match (file, url) {
            (Some(file), None) => Some(Channel::File(file)),
            (None, Some(url)) => Some(Channel::Webhook { url, headers }),
            _ => {
                reader.wrong(node, path, "a channel has either `file` or `webhook`");
                None
            }
        }
    }
}

fn read_url(reader: &mut Reader, node: &Node, path: &str) -> Option<Value> {
    if let Some((_, secret)) = node.entry("$secret") {
        return reader.text(secret, path).map(Value::Secret);
    }
    let text = reader.text(node, path)?;
    let is_http = Url::parse(&text).is_ok_and(|it| matches!(it.scheme(), "http" | "https"));
    if !is_http {
        let message =
            format!("`{text}` is no http or https URL; a secret one is `{{$secret: NAME}}`");
        reader.wrong(node, path, message);
    }
    Some(Value::String(text))
}

fn is_pattern(text: &str) -> bool {
    text == "*"
        || text.split_once(':').is_some_and(|(kind, rest)| is_kind(kind) && !rest.is_empty())
}

fn is_kind(kind: &str) -> bool {
    KINDS.contains(&kind)
}

/// Performs a `notify`: tells every recipient through every channel of theirs, in order.
///
/// A failed delivery fails the attempt, with the deliveries so far; the next attempt sends all of
/// them again with the same keys.
pub(crate) async fn notify(
    client: &Client,
    channels: &Channels,
    call: &Call,
    vault: &mut Vault<'_>,
) -> Outcome {
    if call.input.holds_secret() {
        return Err(invalid("a notification cannot hold a secret"));
    }
    let mut deliveries: Vec<Value> = Vec::new();
    for to in recipients(&call.input)? {
        let Some(found) = channels.of(to) else {
            let message = format!(
                "no channel for `{to}`; bind it under `notify` in the connectors file, for all: \
                 `notify: {{\"*\": log}}`"
            );
            return Err(EffectError::new("provider_unavailable", message)
                .with_details(Value::map([("deliveries", Value::list(deliveries))])));
        };
        for channel in found {
            let message = message(to, call, deliveries.len());
            if let Err(error) =
                channel.deliver(client, message, call, deliveries.len(), vault).await
            {
                let text = format!("telling `{to}` by {}: {}", channel.name(), error.message);
                let target = error.details.get("target").map(|it| ("target", it.clone()));
                let of = [
                    ("to", Value::from(to)),
                    ("channel", Value::from(channel.name())),
                    ("deliveries", Value::list(deliveries)),
                ];
                let details = Value::map(of.into_iter().chain(target));
                return Err(EffectError { message: text.into(), ..error }.with_details(details));
            }
            let done = [("to", Value::from(to)), ("channel", Value::from(channel.name()))];
            deliveries.push(Value::map(done));
        }
    }
    Ok(Value::map([("deliveries", Value::list(deliveries))]))
}

fn recipients(input: &Value) -> Result<Vec<&str>, EffectError> {
    let rule = || {
        invalid(format!(
            "`to` must be a list of 1 to {RECIPIENTS_MAX} recipients such as `role:support`; \
             kinds are {}",
            KINDS.join(", ")
        ))
    };
    let list = input.get("to").and_then(Value::as_list).ok_or_else(rule)?;
    if list.is_empty() || list.len() > RECIPIENTS_MAX {
        return Err(rule());
    }
    let is_recipient = |it: &&str| {
        it.split_once(':').is_some_and(|(kind, name)| is_kind(kind) && !name.is_empty())
    };
    list.iter().map(|it| it.as_str().filter(is_recipient).ok_or_else(rule)).collect()
}

/// Returns what is delivered; `key` is the same whenever this delivery is repeated.
fn message(to: &str, call: &Call, number: usize) -> Value {
    let part = |name: &str| call.input.get(name).cloned().unwrap_or(Value::Null);
    let text = |name: &str| part(name).as_str().map(str::to_owned).unwrap_or_default();
    let line = match (text("title"), text("message")) {
        (title, message) if title.is_empty() => message,
        (title, message) => format!("{title}: {message}"),
    };
    Value::map([
        ("to", Value::from(to)),
        ("title", part("title")),
        ("message", part("message")),
        ("data", part("data")),
        // What chat services show.
        ("text", Value::from(line)),
        ("instance", Value::from(call.id.instance.to_string())),
        ("key", Value::from(format!("{}.{number}", call.key))),
    ])
}

impl Channel {
    async fn deliver(
        &self,
        client: &Client,
        message: Value,
        call: &Call,
        number: usize,
        vault: &mut Vault<'_>,
    ) -> Result<(), EffectError> {
        match self {
            Channel::Log => {
                let line = format!("notify {}\n", message.to_json());
                written(std::io::stderr().write_all(line.as_bytes()), "standard error")
            }
            Channel::File(path) => {
                let line = message.to_json() + "\n";
                written(append(path, &line), &path.display().to_string())
            }
            Channel::Webhook { url, headers } => {
                let url = match url {
                    Value::Secret(name) => Url::parse(vault.reveal(name)?.expose()),
                    other => Url::parse(other.as_str().unwrap_or_default()),
                };
                let url = url.map_err(|_| invalid("the address of the webhook is no URL"))?;
                let mut all = read_headers(Some(&Value::Map(headers.clone().into())), vault)?;
                let media = Value::map([("content-type", Value::from("application/json"))]);
                all.extend(read_headers(Some(&media), vault)?);
                let key = format!("{}.{number}", call.key).into();
                add_identity(&mut all, &Call { key, ..call.clone() });
                let request = Request {
                    method: Method::POST,
                    url,
                    headers: all,
                    body: Some(message.to_json().into_bytes()),
                    redirects: 0,
                    response_bytes_max: RESPONSE_BYTES_DEFAULT,
                };
                let reply = client.send(request, &Expect::success(), &call.hosts).await?;
                let status = reply.status.as_u16();
                if reply.status.is_success() {
                    return Ok(());
                }
                let mut error =
                    EffectError::new("http_error", format!("the webhook answered {status}"));
                error.retryable = is_retryable(status);
                Err(error)
            }
        }
    }
}

/// Adds a line to a file and has it on disk.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

fn written(result: std::io::Result<()>, place: &str) -> Result<(), EffectError> {
    result.map_err(|error| {
        EffectError::retryable("call_failed", format!("cannot write to {place}: {error}"))
    })
}
