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

    /// Returns about the bytes of the values in it: of those that come with every step cheaply, of
    /// others by writing the record.
    pub fn bytes(&self) -> usize {
        match self {
            Body::Transition { .. }
            | Body::EventRecalled { .. }
            | Body::TimerFired { .. }
            | Body::TimerCancelled { .. }
            | Body::TreeStarted { .. }
            | Body::TreeOrphaned { .. }
            | Body::EffectStarted { .. }
            | Body::EffectSkipped { .. }
            | Body::EffectCancelled { .. }
            | Body::InputReleased
            | Body::BudgetReserved(_)
            | Body::BudgetSettled { .. }
            | Body::ChildStarted { .. }
            | Body::TaskCreated { .. } => 0,
            Body::Created { input, data, .. } => input.json_len() + data.json_len(),
            Body::EventReceived { data, .. }
            | Body::EventIgnored { data, .. }
            | Body::EventDeferred { data, .. }
            | Body::TimerScheduled { data, .. }
            | Body::Emitted { data, .. }
            | Body::SignalReceived { data, .. } => data.json_len(),
            Body::LoopAdvanced { value, .. } => value.json_len(),
            Body::DocumentPut { body, .. } => body.json_len(),
            Body::Completing { output, error: None, .. }
            | Body::Finished { output, error: None, .. } => output.json_len(),
            Body::EffectScheduled { .. }
            | Body::EffectCompleted { .. }
            | Body::DataChanged { .. } => self.value_bytes(),
            _ => {
                let mut line = Vec::new();
                super::line::write_body(self, &mut line);
                line.len()
            }
        }
    }
}
