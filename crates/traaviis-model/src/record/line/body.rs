//! The body of a record in its line, after the header.
//!
//! The kinds that nearly every step writes have a writer here; the others go through
//! `serde_json`. A test compares the two, so that no one can tell who wrote a line.

use super::super::{Body, EventSource, PatchOp};
use crate::{
    ids::{Seq, Text},
    json,
    value::Value,
};

/// Appends the body's keys to an open object, closes it, and ends the line.
pub(super) fn write(body: &Body, out: &mut Vec<u8>) {
    match body {
        Body::EventReceived { event, data, id, source } => {
            out.extend_from_slice(br#","kind":"event_received","event":"#);
            json::text(event, out);
            write_data(data, out);
            write_id(id.as_ref(), out);
            out.extend_from_slice(match source {
                EventSource::External => br#","source":"external""#,
                EventSource::Internal => br#","source":"internal""#,
            });
        }
        Body::Transition { .. } => write_transition(body, out),
        Body::DataChanged { patch, cause } => {
            out.extend_from_slice(br#","kind":"data_changed","patch":"#);
            json::list(patch, out, write_op);
            out.extend_from_slice(br#","cause":"#);
            json::text(cause, out);
        }
        Body::TreeStarted { invoke, state, pointer, detached } => {
            out.extend_from_slice(br#","kind":"tree_started","invoke":"#);
            json::text(invoke, out);
            out.extend_from_slice(br#","state":"#);
            json::text(state, out);
            out.extend_from_slice(br#","pointer":"#);
            json::text(pointer, out);
            if *detached {
                out.extend_from_slice(br#","detached":true"#);
            }
        }
        Body::EffectScheduled { tree, path, effect, input, key } => {
            out.extend_from_slice(br#","kind":"effect_scheduled""#);
            write_node(*tree, path, out);
            out.extend_from_slice(br#","effect":"#);
            json::text(effect, out);
            if !input.is_null() {
                out.extend_from_slice(br#","input":"#);
                json::value(input, out);
            }
            if let Some(key) = key {
                out.extend_from_slice(br#","key":"#);
                json::text(key, out);
            }
        }
        Body::EffectStarted { tree, path, attempt } => {
            out.extend_from_slice(br#","kind":"effect_started""#);
            write_node(*tree, path, out);
            out.extend_from_slice(br#","attempt":"#);
            json::number(*attempt, out);
        }
        Body::EffectCompleted { tree, path, value } => {
            out.extend_from_slice(br#","kind":"effect_completed""#);
            write_node(*tree, path, out);
            if !value.is_null() {
                out.extend_from_slice(br#","value":"#);
                json::value(value, out);
            }
        }
        Body::DocumentPut { document, id, body } => {
            out.extend_from_slice(br#","kind":"document_put","document":"#);
            json::text(document, out);
            out.extend_from_slice(br#","id":"#);
            json::text(id, out);
            out.extend_from_slice(br#","body":"#);
            json::value(body, out);
        }
        rare => return write_rare(rare, out),
    }
    out.extend_from_slice(b"}\n");
}

fn write_rare(body: &Body, out: &mut Vec<u8>) {
    let joint = out.len();
    json::rare(body, out);
    out[joint] = b','; // instead of the opening brace
    out.push(b'\n');
}

fn write_transition(body: &Body, out: &mut Vec<u8>) {
    let Body::Transition {
        from,
        to,
        event,
        candidates,
        guards,
        exited,
        entered,
        remembered,
        microstep,
    } = body
    else {
        return;
    };
    out.extend_from_slice(br#","kind":"transition","from":"#);
    json::texts(from, out);
    out.extend_from_slice(br#","to":"#);
    json::texts(to, out);
    if let Some(event) = event {
        out.extend_from_slice(br#","event":"#);
        json::text(event, out);
    }
    let mut some = |key: &[u8], texts: &[Text]| {
        if !texts.is_empty() {
            out.extend_from_slice(key);
            json::texts(texts, out);
        }
    };
    some(br#","candidates":"#, candidates);
    some(br#","guards":"#, guards);
    some(br#","exited":"#, exited);
    some(br#","entered":"#, entered);
    if !remembered.is_empty() {
        out.extend_from_slice(br#","remembered":"#);
        json::rare(remembered, out);
    }
    out.extend_from_slice(br#","microstep":"#);
    json::number(*microstep, out);
}

fn write_data(data: &Value, out: &mut Vec<u8>) {
    if !data.is_null() {
        out.extend_from_slice(br#","data":"#);
        json::value(data, out);
    }
}

fn write_id(id: Option<&Text>, out: &mut Vec<u8>) {
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        json::text(id, out);
    }
}

fn write_node(tree: Seq, path: &Text, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","tree":"#);
    json::number(tree, out);
    out.extend_from_slice(br#","path":"#);
    json::text(path, out);
}

fn write_op(op: &PatchOp, out: &mut Vec<u8>) {
    let (start, path, value): (&[u8], _, _) = match op {
        PatchOp::Add { path, value } => (br#"{"op":"add","path":"#, path, Some(value)),
        PatchOp::Replace { path, value } => (br#"{"op":"replace","path":"#, path, Some(value)),
        PatchOp::Remove { path } => (br#"{"op":"remove","path":"#, path, None),
    };
    out.extend_from_slice(start);
    json::text(path, out);
    if let Some(value) = value {
        out.extend_from_slice(br#","value":"#);
        json::value(value, out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind with a writer of its own, with what may be absent, absent and present.
    fn bodies(text: &str, value: Value, is_full: bool) -> Vec<Body> {
        let text: Text = text.into();
        let option = is_full.then(|| text.clone());
        let texts = || if is_full { vec![text.clone(), "b".into()] } else { Vec::new() };
        let source = if is_full { EventSource::External } else { EventSource::Internal };
        let (path, held) = (text.clone(), if is_full { value.clone() } else { Value::Null });
        vec![
            Body::EventReceived {
                event: text.clone(),
                data: held.clone(),
                id: option.clone(),
                source,
            },
            Body::Transition {
                from: texts().into(),
                to: [text.clone()].into(),
                event: option.clone(),
                candidates: texts().into(),
                guards: texts().into(),
                exited: texts().into(),
                entered: texts().into(),
                remembered: texts().into_iter().map(|it| (it, texts())).collect(),
                microstep: 12,
            },
            Body::DataChanged {
                patch: vec![
                    PatchOp::Add { path: path.clone(), value: value.clone() },
                    PatchOp::Replace { path: path.clone(), value: Value::Null },
                    PatchOp::Remove { path: path.clone() },
                ],
                cause: text.clone(),
            },
            Body::TreeStarted {
                invoke: text.clone(),
                state: text.clone(),
                pointer: text.clone(),
                detached: is_full,
            },
            Body::EffectScheduled {
                tree: 3,
                path: path.clone(),
                effect: text.clone(),
                input: held.clone(),
                key: option,
            },
            Body::EffectStarted { tree: 3, path: path.clone(), attempt: 2 },
            Body::DocumentPut { document: text.clone(), id: text, body: held.clone() },
            Body::EffectCompleted { tree: u64::MAX, path, value: held },
        ]
    }

    #[test]
    fn bodies_are_written_as_serde_json_does() {
        let map =
            Value::map([("k\"", Value::list([Value::Float(0.5), Value::Secret("S".into())]))]);
        for text in ["", "plain", "with \"quotes\" and more than eight", "\u{7}", "ä€\\", "a\nb"]
        {
            for value in [Value::Int(-1), Value::from(text), map.clone()] {
                for body in [true, false].map(|it| bodies(text, value.clone(), it)).concat() {
                    let (mut direct, mut rare) = (b"{".to_vec(), b"{".to_vec());
                    write(&body, &mut direct);
                    write_rare(&body, &mut rare);
                    assert_eq!(String::from_utf8(direct), String::from_utf8(rare));
                }
            }
        }
    }
}
