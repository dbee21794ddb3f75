//! What a test does not ask of its engine.

/// What only [`never_asked`] names; the test has imported the rest.
pub mod types {
    pub use traaviis_platform::engine::{
        Accepted, Checked, EventAsk, OnStep, Picture, PostAsk, Reply, StartAsk, Started, Study,
    };
}

/// Stands among the methods that the engine of a test has.
macro_rules! never_asked {
    () => {
        fn check(&self, _: &TenantCtx, _: &str) -> Checked {
            unreachable!()
        }

        fn draw(&self, _: &TenantCtx, _: &Value, _: Picture) -> Result<String, Error> {
            unreachable!()
        }

        fn start(&self, _: &TenantCtx, _: StartAsk<'_>) -> Result<Json, Error> {
            unreachable!()
        }

        fn study(&self, _: &TenantCtx, _: Study<'_>) -> Result<Json, Error> {
            unreachable!()
        }

        fn start_built_in(
            &self,
            _: &TenantCtx,
            _: &str,
            _: InstanceId,
            _: Value,
        ) -> Result<Json, Error> {
            unreachable!()
        }

        fn post(&self, _: &TenantCtx, _: PostAsk, _: Reply<u16>) {
            unreachable!()
        }

        fn knows(&self, _: &str) -> bool {
            unreachable!()
        }

        fn has_state(&self, _: &str, _: &str) -> Option<bool> {
            unreachable!()
        }

        fn start_then(&self, _: &TenantCtx, _: StartAsk<'_>, _: Reply<Started>) {
            unreachable!()
        }

        fn send_then(&self, _: &TenantCtx, _: EventAsk, _: Reply<Accepted>) {
            unreachable!()
        }

        fn find_then(&self, _: &TenantCtx, _: InstanceId, _: Reply<Option<Arc<Snapshot>>>) {
            unreachable!()
        }

        fn listen(&self, _: OnStep) {}
    };
}

pub(crate) use never_asked;
