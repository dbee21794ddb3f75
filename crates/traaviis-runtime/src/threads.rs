//! Threads of the runtime. One that panics ends the process: what it looked after would stand still
//! for everybody whom it serves, and nobody would be told.

use std::{sync::Arc, thread};

use traaviis_ports::LogError;

use crate::error::Error;

/// Told that the process must end.
pub(crate) type OnFatal = Arc<dyn Fn(&LogError) + Send + Sync>;

/// Begins a thread; `on_fatal` is told when it panics.
pub(crate) fn begin(
    name: &str,
    on_fatal: &OnFatal,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let watched = Watched { name: name.into(), on_fatal: Arc::clone(on_fatal) };
    let work = move || {
        let _watched = watched;
        work();
    };
    let begun = thread::Builder::new().name(name.into()).spawn(work);
    begun.map(drop).map_err(|error| Error::Thread(error.to_string().into()))
}

/// Tells of a panic of the thread that holds it.
struct Watched {
    name: String,
    on_fatal: OnFatal,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if thread::panicking() {
            let why = format!("a defect has ended the thread `{}`", self.name);
            (self.on_fatal)(&LogError::Failed(why.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, time::Duration};

    use super::*;

    #[test]
    fn a_thread_that_panics_is_told_and_one_that_ends_is_not() {
        let (sender, told) = channel();
        let on_fatal: OnFatal = Arc::new(move |error: &LogError| {
            // The test may be over.
            let _ = sender.send(error.to_string());
        });
        begin("quiet", &on_fatal, || ()).unwrap();
        begin("loud", &on_fatal, || panic!("as planned")).unwrap();
        let first = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(first.contains("`loud`"), "{first}");
        drop(on_fatal);
        assert!(told.recv_timeout(Duration::from_secs(60)).is_err(), "nothing else is told");
    }
}
