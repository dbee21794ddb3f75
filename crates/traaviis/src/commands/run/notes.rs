//! What wakes a run: commits, Ctrl-C, time.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    data::Data,
    exit::{Exit, Failure},
};

/// Notes kept; a commit note only says "look again", so losing one to a full queue loses nothing.
const NOTES_MAX: usize = 64;

/// Why the run looks again.
#[derive(Debug)]
pub enum Note {
    /// Records were committed.
    Commit,
    /// The person wants to stop.
    Stop,
    /// The time given is over.
    TimeIsUp,
    /// The log failed; nothing more will be acknowledged.
    Failed(Failure),
}

/// Where notes arrive.
#[derive(Debug)]
pub struct Notes {
    receiver: Receiver<Note>,
}

impl Notes {
    /// Listens to commits of `data` and to signals.
    pub fn listen(data: &Data) -> Result<Notes, Failure> {
        let (sender, receiver) = sync_channel(NOTES_MAX);
        let commits = sender.clone();
        data.on_commit(Box::new(move |failed| {
            let note = failed.map_or(Note::Commit, Note::Failed);
            // Full means that the reader has reason enough to look.
            let _ = commits.try_send(note);
        }));
        let internal =
            |it: std::io::Error| Failure::new(Exit::Internal, "internal", it.to_string());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(forward_signals(sender)))
            .map_err(internal)?;
        Ok(Notes { receiver })
    }

    /// Returns the next note; waits at most `limit`.
    pub fn next(&self, limit: Option<Duration>) -> Note {
        let stopped = Note::Stop;
        match limit {
            None => self.receiver.recv().unwrap_or(stopped),
            Some(limit) => match self.receiver.recv_timeout(limit) {
                Ok(note) => note,
                Err(RecvTimeoutError::Timeout) => Note::TimeIsUp,
                Err(RecvTimeoutError::Disconnected) => stopped,
            },
        }
    }
}

/// The first signal asks for a clean stop, the second ends the process as it is.
async fn forward_signals(sender: SyncSender<Note>) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut is_first = true;
    loop {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
        if !is_first {
            // Safe at any moment: what was acknowledged is on disk.
            std::process::exit(Exit::Interrupted.code().into());
        }
        is_first = false;
        // A full queue is drained soon; blocking here delays nobody.
        if sender.send(Note::Stop).is_err() {
            return;
        }
    }
}
