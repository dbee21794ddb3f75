//! A server that speaks as much of the protocol of S3 as backups need, and checks signatures.
//!
//! It lists a few names at a time, so that lists of any length are read to their end, and can
//! disappear after so many requests.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    thread,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// What clients sign with.
pub const KEY: &str = "AKIATESTONLY";
pub const SECRET: &str = "this-is-told-to-nobody";

/// Names in one answer to a list.
const PAGE: usize = 3;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Method and path of every request that was answered.
    asked: Vec<String>,
    /// Names that are listed as written an hour before the others.
    old: Vec<String>,
    /// Uploads begun, for their names.
    begun: u32,
}

/// A running server with one bucket, `kept`.
pub struct S3 {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    /// Requests that are answered before it disappears.
    left: Arc<AtomicI64>,
}

struct Request {
    method: String,
    /// As signed: still with `%`.
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

impl S3 {
    pub fn start() -> S3 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let shared = (Arc::clone(&state), Arc::clone(&left));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, left) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                thread::spawn(move || serve(stream.unwrap(), &state, &left));
            }
        });
        S3 { endpoint, state, left }
    }

    /// Answers so many more requests, and then none.
    pub fn disappear_after(&self, requests: i64) {
        self.left.store(requests, Ordering::SeqCst);
    }

    pub fn come_back(&self) {
        self.disappear_after(i64::MAX);
    }

    /// Names that begin with something.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.objects.keys().filter(|it| it.starts_with(prefix)).cloned().collect()
    }

    pub fn object(&self, name: &str) -> Vec<u8> {
        self.state.lock().unwrap().objects[name].clone()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.state.lock().unwrap().objects.insert(name.into(), bytes.into());
    }

    /// Lists a name as written an hour before the others.
    pub fn age(&self, name: &str) {
        self.state.lock().unwrap().old.push(name.into());
    }

    /// Uploads in parts that are neither whole nor given up.
    pub fn uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    /// How often something was asked, such as `PUT`.
    pub fn asked(&self, word: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|it| it.contains(word)).count()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, left: &AtomicI64) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = read(&mut reader) {
        if left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return;
        }
        let (status, headers, body) = match verified(&request) {
            Ok(()) => answer(&request, &mut state.lock().unwrap()),
            Err(why) => {
                let text = format!(
                    "<Error><Code>SignatureDoesNotMatch</Code><Message>{why}</Message>\
                     <AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>"
                );
                (403, Vec::new(), text.into_bytes())
            }
        };
        let mut head = format!("HTTP/1.1 {status} Answer\r\n");
        if !headers.iter().any(|it| it.0 == "content-length") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let body = if request.method == "HEAD" { Vec::new() } else { body };
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        if written.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|it| *it > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let bytes = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter(|it| !it.is_empty()).map(|it| {
        let (name, value) = it.split_once('=').unwrap_or((it, ""));
        (name.to_string(), value.to_string())
    });
    Some(Request { method, path: path.into(), query: query.collect(), headers, body })
}

/// Checks a signature of version 4 over method, path, query, headers and body.
fn verified(request: &Request) -> Result<(), String> {
    let header = |name: &str| request.headers.get(name).ok_or(format!("`{name}` is missing"));
    let authorization = header("authorization")?;
    let part = |name: &str| {
        let rest = authorization.split_once(&format!("{name}="))?.1;
        Some(rest.split(',').next()?.trim().to_string())
    };
    let (Some(credential), Some(signed), Some(signature)) =
        (part("Credential"), part("SignedHeaders"), part("Signature"))
    else {
        return Err(format!("`{authorization}` is no signature"));
    };
    let scope = credential.strip_prefix(&format!("{KEY}/")).ok_or("another key")?;
    let hash = header("x-amz-content-sha256")?;
    if *hash != hex(&Sha256::digest(&request.body)) {
        return Err("the body is another one".into());
    }
    let mut query = request.query.clone();
    query.sort();
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query.join("&"));
    for name in signed.split(';') {
        canonical += &format!("{name}:{}\n", header(name)?);
    }
    canonical += &format!("\n{signed}\n{hash}");
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        header("x-amz-date")?,
        hex(&Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for word in scope.split('/') {
        key = mac(&key, word.as_bytes());
    }
    match hex(&mac(&key, text.as_bytes())) == signature {
        true => Ok(()),
        false => Err("the signature is another one".into()),
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn answer(request: &Request, state: &mut State) -> Answer {
    let query = |name: &str| request.query.iter().find(|it| it.0 == name).map(|it| plain(&it.1));
    let path = plain(&request.path);
    state.asked.push(format!("{} {path}", request.method));
    let rest = path.strip_prefix("/kept").unwrap_or("?");
    let name = rest.strip_prefix('/').unwrap_or_default().to_string();
    let tag = || vec![("etag", "\"tag\"".to_string())];
    let xml = |text: String| (200, Vec::new(), text.into_bytes());
    let absent =
        |code: &str| (404, Vec::new(), format!("<Error><Code>{code}</Code></Error>").into_bytes());
    if rest == "?" {
        return absent("NoSuchBucket");
    }
    match (&*request.method, query("uploadId")) {
        ("GET", _) if query("list-type").is_some() => {
            xml(listed(state, &query("prefix").unwrap_or_default(), query("continuation-token")))
        }
        ("POST", None) if query("uploads").is_some() => {
            state.begun += 1;
            let id = format!("u{}", state.begun);
            state.uploads.insert(id.clone(), BTreeMap::new());
            xml(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ))
        }
        ("PUT", Some(id)) => {
            let number = query("partNumber").unwrap().parse().unwrap();
            state.uploads.get_mut(&id).unwrap().insert(number, request.body.clone());
            (200, tag(), Vec::new())
        }
        ("POST", Some(id)) => {
            let parts = state.uploads.remove(&id).unwrap();
            let bytes = parts.into_values().flatten().collect();
            state.objects.insert(name, bytes);
            xml("<CompleteMultipartUploadResult><ETag>\"tag\"</ETag>\
                 </CompleteMultipartUploadResult>"
                .into())
        }
        ("DELETE", Some(id)) => {
            state.uploads.remove(&id);
            (204, Vec::new(), Vec::new())
        }
        ("PUT", None) => {
            state.objects.insert(name, request.body.clone());
            (200, tag(), Vec::new())
        }
        ("DELETE", None) => {
            state.objects.remove(&name);
            (204, Vec::new(), Vec::new())
        }
        ("GET" | "HEAD", _) => match state.objects.get(&name) {
            None => absent("NoSuchKey"),
            Some(bytes) => {
                let mut headers = tag();
                headers.push(("last-modified", "Mon, 30 Nov 2026 02:00:00 GMT".into()));
                headers.push(("content-length", bytes.len().to_string()));
                (200, headers, bytes.clone())
            }
        },
        _ => (405, Vec::new(), Vec::new()),
    }
}

fn listed(state: &State, prefix: &str, after: Option<String>) -> String {
    let after = after.unwrap_or_default();
    let mut names: Vec<(&String, usize)> = state
        .objects
        .iter()
        .filter(|(name, _)| name.starts_with(prefix) && **name > after)
        .map(|(name, bytes)| (name, bytes.len()))
        .collect();
    let has_more = names.len() > PAGE;
    names.truncate(PAGE);
    let mut text = format!("<ListBucketResult><IsTruncated>{has_more}</IsTruncated>");
    for (name, bytes) in &names {
        let hour = if state.old.contains(name) { 1 } else { 2 };
        text += &format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-30T0{hour}:00:00.000Z</LastModified>\
             <ETag>\"tag\"</ETag><Size>{bytes}</Size></Contents>"
        );
    }
    if let Some((last, _)) = names.last().filter(|_| has_more) {
        text += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    text + "</ListBucketResult>"
}

/// Puts characters in place of their `%`.
fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}
