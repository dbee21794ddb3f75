//! Frames of the Phoenix Channels protocol, version 2: `[join_ref, ref, topic, event, payload]`.

use serde_json::{Value as Json, json};

/// A frame of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The join that it belongs to.
    pub join_ref: Option<String>,
    /// By which its reply is known.
    pub reference: Option<String>,
    /// Topic.
    pub topic: String,
    /// Event.
    pub event: String,
    /// Payload.
    pub payload: Json,
    /// The frame as it was sent, of events in whose payload the order of keys counts.
    pub text: Option<Box<str>>,
}

/// The event in whose payload the order of keys counts: a map of steps is run in it.
pub const ORDERED: &str = "effects:execute";

/// Characters of a topic or an event.
const NAME_CHARS_MAX: usize = 256;

impl Frame {
    /// Reads a frame.
    pub fn read(text: &str) -> Option<Frame> {
        let parts: [Json; 5] = serde_json::from_str(text).ok()?;
        let [join_ref, reference, topic, event, payload] = parts;
        let name = |it: Json| match it {
            Json::String(it) if it.len() <= NAME_CHARS_MAX => Some(it),
            _ => None,
        };
        let maybe = |it: Json| match it {
            Json::Null => Some(None),
            // Some clients count with numbers.
            Json::Number(it) => Some(Some(it.to_string())),
            other => name(other).map(Some),
        };
        let (join_ref, reference) = (maybe(join_ref)?, maybe(reference)?);
        let (topic, event) = (name(topic)?, name(event)?);
        let text = (event == ORDERED).then(|| text.into());
        payload.is_object().then_some(Frame { join_ref, reference, topic, event, payload, text })
    }

    /// Returns the reply to it.
    pub fn reply(&self, answer: Result<Json, Json>) -> String {
        let (status, response) = match answer {
            Ok(response) => ("ok", response),
            Err(response) => ("error", response),
        };
        let payload = json!({ "status": status, "response": response });
        json!([self.join_ref, self.reference, self.topic, "phx_reply", payload]).to_string()
    }

    /// Returns a message of the server on its join.
    pub fn push(&self, event: &str, payload: &Json) -> String {
        json!([self.join_ref, null, self.topic, event, payload]).to_string()
    }
}

/// Returns a message to everybody on a topic.
pub fn broadcast(topic: &str, event: &str, payload: &Json) -> String {
    json!([null, null, topic, event, payload]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_and_replied_to() {
        let frame = Frame::read(r#"["1","2","fsm:a","ping",{"x":1}]"#).unwrap();
        assert_eq!((&*frame.topic, &*frame.event), ("fsm:a", "ping"));
        let reply = frame.reply(Ok(json!({ "pong": true })));
        let expected = r#"["1","2","fsm:a","phx_reply",{"response":{"pong":true},"status":"ok"}]"#;
        assert_eq!(reply, expected);
        assert!(Frame::read(r#"[null,"7","phoenix","heartbeat",{}]"#).is_some());
        for bad in [
            "",
            "{}",
            "[]",
            r#"["1","2","fsm:a","ping"]"#,
            r#"["1","2","fsm:a","ping",{},1]"#,
            r#"["1","2",7,"ping",{}]"#,
            r#"["1","2","fsm:a","ping",[]]"#,
            r#"[{},"2","fsm:a","ping",{}]"#,
        ] {
            assert_eq!(Frame::read(bad), None, "{bad}");
        }
    }
}
