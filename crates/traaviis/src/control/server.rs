//! Answers questions while `run --data` holds the directory.
//!
//! One thread accepts, one thread per connection answers, at most [`CONNECTIONS_MAX`] at once.
//!
//! Invariants: the socket is served only while this process holds the directory's lock, so an old
//! socket file can be replaced without asking. A question that was begun is answered before the
//! runtime behind it ends, so nobody is told of a change that it was refused; one that comes later
//! changes nothing.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    protocol::{LINE_BYTES_MAX, Reply, Request, VERSION},
    socket_path,
};
use crate::{data::Data, exit::Failure, operations};

/// Connections at once; a person types one command at a time, and scripts wait for what follows
/// the events that they send.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may stay silent.
const IDLE_SECS_MAX: u64 = 60;

/// How long the end of the process waits for answers that were begun. Longer takes only who waits
/// for what follows a change, and that one learns that the process has ended.
const ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// Answers one question.
pub type Answer = dyn Fn(Request) -> Result<serde_json::Value, Failure> + Send + Sync;

/// The open socket; removed when dropped, which waits for the answers that were begun.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    answers: Arc<Answers>,
}

/// The answers that are on their way.
#[derive(Debug, Default)]
struct Answers {
    state: Mutex<AnswersState>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct AnswersState {
    begun: usize,
    ending: bool,
}

impl Answers {
    /// Runs `answer`, unless the process is ending.
    fn during<T>(&self, answer: impl FnOnce(Option<Failure>) -> T) -> T {
        let refused = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.begun += 1;
            state.ending.then(|| Failure::finding("stopping", "the process is stopping; try again"))
        };
        let _begun = Begun(self);
        answer(refused)
    }

    /// Begins nothing more, and waits for what was begun.
    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ending = true;
        let waited = self.ended.wait_timeout_while(state, ANSWERS_WAIT, |it| it.begun > 0);
        drop(waited);
    }
}

/// Counts an answer as ended however it ends.
struct Begun<'a>(&'a Answers);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).begun -= 1;
        self.0.ended.notify_all();
    }
}

impl Server {
    /// Serves the socket of `dir` with what the directory answers, as long as it is open.
    pub fn of_data(dir: &Path, data: &Arc<Data>) -> std::io::Result<Server> {
        let data = Arc::downgrade(data);
        let answer = move |Request { by, ask, .. }| match data.upgrade() {
            Some(data) => {
                by.refuse_change(&ask)?;
                let data = data.acting_as(&by);
                operations::answer(&data.histories, Some(&data), ask)
            }
            None => Err(Failure::finding("stopping", "the process is stopping; try again")),
        };
        Server::serve(dir, Arc::new(answer))
    }

    /// Serves the socket of `dir` until the server is dropped.
    pub fn serve(dir: &Path, answer: Arc<Answer>) -> std::io::Result<Server> {
        let path = socket_path(dir);
        // Bound under another name, closed to others, then moved into place: at no time may
        // somebody else connect.
        let fresh = dir.join("control.new");
        remove_if_present(&fresh)?;
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        fs::rename(&fresh, &path)?;
        let (open, answers) = (Arc::new(AtomicUsize::new(0)), Arc::<Answers>::default());
        let begun = Arc::clone(&answers);
        thread::Builder::new().name("control".into()).spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                accept(stream, &answer, &open, &begun);
            }
        })?;
        Ok(Server { path, answers })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The next process replaces a socket that stays behind.
        let _ = fs::remove_file(&self.path);
        self.answers.end();
    }
}

fn remove_if_present(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn accept(
    stream: UnixStream,
    answer: &Arc<Answer>,
    open: &Arc<AtomicUsize>,
    answers: &Arc<Answers>,
) {
    if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        open.fetch_sub(1, Ordering::Relaxed);
        let busy = Failure::finding("busy", "too many commands at once; try again");
        let _ = write_reply(&stream, Err(busy));
        return;
    }
    let (answer, guard, answers) = (Arc::clone(answer), Arc::clone(open), Arc::clone(answers));
    let spawned = thread::Builder::new().name("control-client".into()).spawn(move || {
        // Whoever hangs up gets no answer; that is theirs to notice.
        let _ = converse(&stream, &*answer, &answers);
        guard.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(stream: &UnixStream, answer: &Answer, answers: &Answers) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(IDLE_SECS_MAX)))?;
    stream.set_write_timeout(Some(Duration::from_secs(IDLE_SECS_MAX)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(()); // hung up, or a line longer than any question
        }
        answers.during(|refused| {
            let result = match refused {
                Some(failure) => Err(failure),
                None => read_request(&line).and_then(answer),
            };
            write_reply(stream, result)
        })?;
    }
}

fn write_reply(
    mut stream: &UnixStream,
    result: Result<serde_json::Value, Failure>,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&Reply::of(result))?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_request(line: &[u8]) -> Result<Request, Failure> {
    #[derive(serde::Deserialize)]
    struct Version {
        v: u32,
    }
    let wrong = |error: serde_json::Error| {
        Failure::finding("control_request", format!("the request cannot be read: {error}"))
    };
    let version: Version = serde_json::from_slice(line).map_err(wrong)?;
    if version.v != VERSION {
        let message = format!(
            "the request speaks version {}, the running process version {VERSION}; use the same \
             release for both",
            version.v
        );
        return Err(Failure::finding("control_version", message));
    }
    serde_json::from_slice(line).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to the command that ends the only run of a process comes before its end.
    #[test]
    fn the_end_waits_for_answers_that_were_begun_and_begins_none() {
        let answers = Arc::<Answers>::default();
        let (begun, told) = std::sync::mpsc::channel();
        let (go_on, waits) = std::sync::mpsc::channel();
        let slow = Arc::clone(&answers);
        let answering = thread::spawn(move || {
            slow.during(|refused| {
                begun.send(()).unwrap();
                waits.recv().unwrap();
                refused.is_none()
            })
        });
        told.recv().unwrap();
        let ended = Arc::clone(&answers);
        let ending = thread::spawn(move || {
            ended.end();
            ended.state.lock().unwrap().begun
        });
        while !answers.state.lock().unwrap().ending {
            thread::yield_now();
        }
        assert_eq!(answers.during(|refused| refused.unwrap().code), "stopping");
        go_on.send(()).unwrap();
        assert!(answering.join().unwrap(), "begun before the end");
        assert_eq!(ending.join().unwrap(), 0, "the end came after the answer");
    }

    #[test]
    fn another_version_is_refused_before_the_question_is_read() {
        let failure = read_request(br#"{"v":1,"op":"dance"}"#).unwrap_err();
        assert_eq!(failure.code, "control_version");
        let failure = read_request(br#"{"v":3,"op":"dance"}"#).unwrap_err();
        assert_eq!(failure.code, "control_request");
        assert!(read_request(br#"{"v":3,"op":"ps","all":true}"#).is_ok());
    }
}
