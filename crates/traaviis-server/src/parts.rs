//! Answers that are made while they go out: nothing of them is kept, and a slow reader slows them.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use traaviis_platform::Error;

/// Parts that wait for a reader.
const WAITING_MAX: usize = 2;

type Texts = Box<dyn Iterator<Item = Result<String, Error>> + Send>;

/// A body that is told in parts, once.
#[derive(Clone)]
pub struct Parts {
    /// Media type.
    pub media_type: &'static str,
    texts: Arc<Mutex<Option<Texts>>>,
}

impl Parts {
    /// Returns a body of these parts.
    pub fn of(
        media_type: &'static str,
        parts: impl Iterator<Item = Result<String, Error>> + Send + 'static,
    ) -> Parts {
        Parts { media_type, texts: Arc::new(Mutex::new(Some(Box::new(parts)))) }
    }

    /// Begins to tell it, on a thread that may wait for disks. An error breaks the answer off,
    /// which its reader sees; `tell` is told why.
    pub fn into_body(self, tell: fn(&str)) -> Body {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            for part in texts.into_iter().flatten() {
                let part = part.map(Bytes::from).map_err(|error| {
                    tell(&format!("an answer broke off: {error} ({})", error.code));
                    io::Error::other("broken off")
                });
                let is_last = part.is_err();
                // A reader who has gone wants no more.
                if sender.blocking_send(part).is_err() || is_last {
                    return;
                }
            }
        });
        Body::new(Told(receiver))
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("media_type", &self.media_type).finish_non_exhaustive()
    }
}

struct Told(mpsc::Receiver<Result<Bytes, io::Error>>);

impl HttpBody for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|part| part.map(|it| it.map(Frame::data)))
    }
}
