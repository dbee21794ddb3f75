//! Keeps backups in what speaks the protocol of S3.
//!
//! What is written waits in a file without a name until it is whole, so that its name can be its
//! hash, and leaves from there in parts: no object is ever in memory. The operator chose the place
//! on the command line, so the egress policy of workflows does not concern it.
//!
//! There are no locks. Whoever adds or removes leaves a mark under `holds/` and then looks for
//! marks of others; as lists show what was written before, of two that begin at once one sees the
//! other. A mark that was not renewed for [`HOLD_LIFE_SECS`] belongs to a process that died.
//!
//! Invariant: no message holds a credential.

use std::{
    env,
    fs::File,
    future::Future,
    io::{self, Read, Seek as _, Write},
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, Error as StoreError, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use tokio::runtime::Runtime;
use traaviis_ports::backups::{BackupTarget, Draft, Held, Hold, Kept, TargetError};
use uuid::Uuid;
use zeroize::Zeroizing;

/// How such places are written.
pub const SCHEME: &str = "s3://";

/// Bytes sent at once; S3 wants at least 5 MiB in every part but the last.
const PART_BYTES: u64 = 8 << 20;
/// Parts that S3 takes of one object.
const PARTS_MAX: u64 = 10_000;
/// Time of a request; a part takes this long at 150 kB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to reach the machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Times that a request is repeated, and how long at most: a restart of the other side, not a
/// night without network.
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which a mark that nobody renewed counts no more; far more than one object takes.
const HOLD_LIFE_SECS: i64 = 3_600;
/// Time between two renewals.
const HOLD_RENEW: Duration = Duration::from_secs(300);
/// Characters of an answer that are told.
const ANSWER_CHARS_MAX: usize = 400;

/// Where marks stand.
const HOLDS: &str = "holds";
const ADDING: &str = "adding";
const REMOVING: &str = "removing";

/// A bucket, or a part of one.
pub struct S3Target {
    store: AmazonS3,
    runtime: Runtime,
    /// `s3://BUCKET/PREFIX`, without a `/` at its end.
    shown: String,
    /// What stands before every name; empty, or with a `/` at its end.
    prefix: String,
    /// What must not be told.
    hidden: Vec<Zeroizing<String>>,
    /// The mark of this process.
    mark: Mutex<Option<Mark>>,
}

struct Mark {
    name: String,
    renewed: Instant,
}

impl S3Target {
    /// Finds a place by its address, with what the environment says.
    pub fn from_environment(address: &str) -> Result<S3Target, TargetError> {
        S3Target::new(address, &|name| env::var(name).ok().filter(|it| !it.is_empty()))
    }

    /// Finds a place by its address; `variable` tells the usual variables of AWS.
    pub fn new(
        address: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<S3Target, TargetError> {
        let unusable = TargetError::Unusable;
        let rest = address.strip_prefix(SCHEME).unwrap_or_default().trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |it: &str| it.split('/').all(|it| !matches!(it, "" | "." | ".."));
        if bucket.is_empty() || !(prefix.is_empty() || is_plain(prefix)) {
            let why = format!("`{address}` names no place; write `s3://BUCKET/PREFIX`");
            return Err(unusable(why));
        }
        let wanted = |name: &str| {
            variable(name).map(Zeroizing::new).ok_or_else(|| {
                unusable(format!("`{address}` needs credentials; set `{name}` in the environment"))
            })
        };
        let key = wanted("AWS_ACCESS_KEY_ID")?;
        let secret = wanted("AWS_SECRET_ACCESS_KEY")?;
        let token = variable("AWS_SESSION_TOKEN").map(Zeroizing::new);
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let options = ClientOptions::new()
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(endpoint.as_ref().is_some_and(|it| it.starts_with("http://")));
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..Default::default() },
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIMEOUT,
        };
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options)
            .with_retry(retry)
            .with_bucket_name(bucket)
            .with_region(region.unwrap_or_else(|| "us-east-1".into()))
            .with_access_key_id(&*key)
            .with_secret_access_key(&*secret)
            // Deleting many at once is no part of what every such server speaks.
            .with_disable_bulk_delete(true);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(token) = &token {
            builder = builder.with_token(&**token);
        }
        let hidden: Vec<_> = [Some(key), Some(secret), token].into_iter().flatten().collect();
        let cannot =
            |why: String| unusable(format!("`{address}` cannot be used: {}", hide(&why, &hidden)));
        let store = builder.build().map_err(|it| cannot(it.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traaviis-s3")
            .enable_all()
            .build()
            .map_err(|it| cannot(it.to_string()))?;
        let shown = format!("{SCHEME}{rest}");
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(S3Target { store, runtime, shown, prefix, hidden, mark: Mutex::new(None) })
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    /// Waits for an answer; nothing when the other side has no such thing.
    fn ask<T>(
        &self,
        what: &'static str,
        name: &str,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>, TargetError> {
        match self.runtime.block_on(answer) {
            Ok(it) => Ok(Some(it)),
            Err(StoreError::NotFound { source, .. }) if !names_bucket(&source.to_string()) => {
                Ok(None)
            }
            Err(error) => Err(self.failed(what, name, &error)),
        }
    }

    /// Waits for an answer that cannot be "no such thing".
    fn must<T>(
        &self,
        what: &'static str,
        name: &str,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, TargetError> {
        self.runtime.block_on(answer).map_err(|error| self.failed(what, name, &error))
    }

    fn failed(&self, what: &'static str, name: &str, error: &StoreError) -> TargetError {
        let why = match error {
            StoreError::Unauthenticated { .. } => "it does not accept the credentials".into(),
            StoreError::PermissionDenied { .. } => "the credentials do not permit it".into(),
            other => told(other),
        };
        let why = hide(&why, &self.hidden);
        TargetError::Failed { what, place: self.show(name), why }
    }

    fn objects(&self, under: &str) -> Result<Vec<(String, ObjectMeta)>, TargetError> {
        let prefix = self.path(under);
        let listed = self.must("list", under, async {
            let (mut stream, mut all) = (self.store.list(Some(&prefix)), Vec::new());
            while let Some(meta) = stream.next().await {
                all.push(meta?);
            }
            Ok(all)
        })?;
        let name = |it: ObjectMeta| {
            let name = it.location.as_ref().strip_prefix(&*self.prefix)?.to_string();
            Some((name, it))
        };
        let mut named: Vec<_> = listed.into_iter().filter_map(name).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(named)
    }

    /// Renews the mark of this process, when that is due.
    fn renew(&self) -> Result<(), TargetError> {
        let mut mark = self.mark.lock().unwrap_or_else(|it| it.into_inner());
        if let Some(mark) = mark.as_mut().filter(|it| it.renewed.elapsed() >= HOLD_RENEW) {
            self.put_small(&mark.name, b"held\n".to_vec())?;
            mark.renewed = Instant::now();
        }
        Ok(())
    }

    fn put_small(&self, name: &str, bytes: Vec<u8>) -> Result<(), TargetError> {
        let path = self.path(name);
        self.must("write", name, self.store.put(&path, bytes.into())).map(drop)
    }

    /// Sends a file in parts; what does not become whole is given up on the other side too.
    fn put_parts(&self, name: &str, file: &mut File, bytes: u64) -> Result<(), TargetError> {
        let path = self.path(name);
        let mut upload = self.must("write", name, self.store.put_multipart(&path))?;
        let part_bytes = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
        let sent = self.send(name, &mut *upload, file, part_bytes);
        if sent.is_err() {
            // The other side may be away; it clears such remains by its own rules then.
            let _ = self.runtime.block_on(upload.abort());
        }
        sent
    }

    fn send(
        &self,
        name: &str,
        upload: &mut dyn MultipartUpload,
        file: &mut File,
        part_bytes: u64,
    ) -> Result<(), TargetError> {
        loop {
            let part = piece(file, part_bytes).map_err(|it| self.spooled(&it))?;
            if part.is_empty() {
                break;
            }
            self.must("write", name, upload.put_part(PutPayload::from(part)))?;
            self.renew()?;
        }
        self.must("write", name, upload.complete()).map(drop)
    }

    /// Says that the file failed in which an object waits.
    fn spooled(&self, error: &io::Error) -> TargetError {
        let place = env::temp_dir().display().to_string();
        TargetError::Failed { what: "keep what is to be sent in", place, why: error.to_string() }
    }
}

impl std::fmt::Debug for S3Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Target({})", self.shown)
    }
}

/// Reads the next bytes of a file; fewer only at its end.
fn piece(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(bytes as usize);
    file.take(bytes).read_to_end(&mut piece)?;
    Ok(piece)
}

/// Says whether it is the bucket that is not there, and not the thing in it.
fn names_bucket(answer: &str) -> bool {
    answer.contains("NoSuchBucket")
}

/// Returns an error with what caused it, in one line.
fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(it) = cause {
        let part = it.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = it.source();
    }
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().take(ANSWER_CHARS_MAX).collect()
}

/// Takes credentials out of a text.
fn hide(text: &str, hidden: &[Zeroizing<String>]) -> String {
    hidden.iter().fold(text.to_string(), |text, it| text.replace(&***it, "[hidden]"))
}

impl BackupTarget for S3Target {
    fn show(&self, name: &str) -> String {
        match name {
            "" => self.shown.clone(),
            name => format!("{}/{name}", self.shown),
        }
    }

    fn list(&self, under: &str) -> Result<Vec<Kept>, TargetError> {
        let kept = |(name, meta): (String, ObjectMeta)| Kept { name, bytes: meta.size };
        Ok(self.objects(under)?.into_iter().map(kept).collect())
    }

    fn has(&self, name: &str) -> Result<bool, TargetError> {
        self.renew()?;
        let path = self.path(name);
        Ok(self.ask("look for", name, self.store.head(&path))?.is_some())
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, TargetError> {
        let path = self.path(name);
        let Some(found) = self.ask("read", name, self.store.get(&path))? else { return Ok(None) };
        let handle = self.runtime.handle().clone();
        let (place, hidden) = (self.show(name), self.hidden.clone());
        let stream = found.into_stream();
        Ok(Some(Box::new(Body { stream, handle, place, hidden, piece: Default::default() })))
    }

    fn draft(&self) -> Result<Box<dyn Draft + '_>, TargetError> {
        let file = tempfile::tempfile().map_err(|it| self.spooled(&it))?;
        Ok(Box::new(S3Draft { target: self, file, bytes: 0 }))
    }

    fn delete(&self, names: &[String]) -> Result<(), TargetError> {
        for name in names {
            self.renew()?;
            let path = self.path(name);
            self.ask("remove", name, self.store.delete(&path))?;
        }
        Ok(())
    }

    fn hold(&self, hold: Hold) -> Result<Box<dyn Held + '_>, TargetError> {
        let word = match hold {
            Hold::Adding => ADDING,
            Hold::Removing => REMOVING,
        };
        let name = format!("{HOLDS}/{word}-{}", Uuid::now_v7());
        self.put_small(&name, b"held\n".to_vec())?;
        *self.mark.lock().unwrap_or_else(|it| it.into_inner()) =
            Some(Mark { name: name.clone(), renewed: Instant::now() });
        // From here on the mark goes when this does.
        let held = S3Held { target: self };
        let marks = self.objects(HOLDS)?;
        // By the clock of the other side, which wrote down both.
        let now = marks.iter().find(|it| it.0 == name).map(|it| it.1.last_modified.timestamp());
        let now = now.ok_or_else(|| TargetError::Failed {
            what: "find its own mark in",
            place: self.show(HOLDS),
            why: "it does not list what was just written".into(),
        })?;
        let is_against = |(other, meta): &(String, ObjectMeta)| {
            let is_live = now - meta.last_modified.timestamp() < HOLD_LIFE_SECS;
            let is_removing = other.starts_with(&format!("{HOLDS}/{REMOVING}"));
            *other != name && is_live && (is_removing || hold == Hold::Removing)
        };
        match marks.iter().any(is_against) {
            true => Err(TargetError::Held(self.show(""))),
            false => Ok(Box::new(held)),
        }
    }
}

struct S3Held<'a> {
    target: &'a S3Target,
}

impl Held for S3Held<'_> {}

impl Drop for S3Held<'_> {
    fn drop(&mut self) {
        let mark = self.target.mark.lock().unwrap_or_else(|it| it.into_inner()).take();
        if let Some(mark) = mark {
            // A mark that stays behind counts no more after an hour.
            let _ = self.target.delete(&[mark.name]);
        }
    }
}

/// What is being read, piece by piece.
struct Body {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    handle: tokio::runtime::Handle,
    place: String,
    hidden: Vec<Zeroizing<String>>,
    piece: io::Cursor<Bytes>,
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.handle.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = io::Cursor::new(piece),
                Some(Err(error)) => {
                    let why = hide(&told(&error), &self.hidden);
                    let (what, place) = ("read", self.place.clone());
                    return Err(io::Error::other(TargetError::Failed { what, place, why }));
                }
            }
        }
    }
}

struct S3Draft<'a> {
    target: &'a S3Target,
    file: File,
    bytes: u64,
}

impl Write for S3Draft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written =
            self.file.write(bytes).map_err(|it| io::Error::other(self.target.spooled(&it)))?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Draft for S3Draft<'_> {
    fn keep(mut self: Box<Self>, name: &str) -> Result<(), TargetError> {
        let target = self.target;
        self.file.rewind().map_err(|it| target.spooled(&it))?;
        target.renew()?;
        if self.bytes > PART_BYTES {
            return target.put_parts(name, &mut self.file, self.bytes);
        }
        let bytes = piece(&mut self.file, self.bytes).map_err(|it| target.spooled(&it))?;
        target.put_small(name, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".into()),
            "AWS_SECRET_ACCESS_KEY" => Some("wJalr/secret".into()),
            _ => None,
        }
    }

    #[test]
    fn an_address_names_a_bucket_and_what_stands_before_names() {
        let target = S3Target::new("s3://kept/a/b/", &variables).unwrap();
        assert_eq!(target.show(""), "s3://kept/a/b");
        assert_eq!(target.path("objects/x").as_ref(), "a/b/objects/x");
        let target = S3Target::new("s3://kept", &variables).unwrap();
        assert_eq!(target.path("objects/x").as_ref(), "objects/x");
        for wrong in ["s3://", "s3:///a", "s3://b//a", "s3://b/../a", "kept"] {
            let error = S3Target::new(wrong, &variables).unwrap_err();
            assert_eq!(error.code(), "backup_target_unusable", "{wrong}");
        }
    }

    #[test]
    fn without_credentials_it_says_which_variable_is_missing() {
        let error = S3Target::new("s3://kept", &|_| None).unwrap_err();
        let why = "`s3://kept` needs credentials; set `AWS_ACCESS_KEY_ID` in the environment";
        assert_eq!(error.to_string(), why);
    }

    #[test]
    fn credentials_are_hidden_in_what_is_told() {
        let hidden = ["AKID", "wJalr"].map(|it| Zeroizing::new(it.to_string()));
        assert_eq!(hide("<Id>AKID</Id> wJalr", &hidden), "<Id>[hidden]</Id> [hidden]");
        let target = S3Target::new("s3://kept", &variables).unwrap();
        assert_eq!(format!("{target:?}"), "S3Target(s3://kept)");
    }
}
