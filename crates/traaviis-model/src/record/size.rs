//! How large the values are that a record carries.

use super::{Body, Held, PatchOp};

impl Body {
    /// Returns the bytes of the values that an effect or an action made and that can be large.
    ///
    /// A step counts them to know when it must yield, so for histories that are written already
    /// the sum may never change.
    pub fn value_bytes(&self) -> usize {
        match self {
            Body::EffectCompleted { value, .. } => value.json_len(),
            Body::EffectScheduled { input, .. } => input.json_len(),
            Body::InputHeld { held: Held::Outcome { value, .. } } => value.json_len(),
            Body::InputHeld { held: Held::Ended { ending, .. } } => ending.output.json_len(),
            Body::InputHeld { held: Held::Event { data, .. } } => data.json_len(),
            Body::DataChanged { patch, .. } | Body::DataEdited { patch, .. } => patch
                .iter()
                .map(|op| match op {
                    PatchOp::Add { value, .. } | PatchOp::Replace { value, .. } => value.json_len(),
                    PatchOp::Remove { .. } => 0,
                })
                .sum(),
            _ => 0,
        }
    }
}
