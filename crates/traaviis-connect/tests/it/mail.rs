//! Mail over the real protocol, to a server on loopback that does what it is told.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use traaviis_connect::{FolderMailer, mailer};
use traaviis_ports::{Mail, MailError, Mailer as _};

const FROM: &str = "TRAAVIIS <no-reply@flows.example.org>";

/// What the server does with a recipient.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Take,
    Answer(&'static str),
    HangUp,
}

/// A server that speaks SMTP (RFC 5321) and remembers every line that it was sent.
struct SmtpServer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl SmtpServer {
    fn start(does: Does) -> SmtpServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever hangs up in the middle ends its own conversation only.
                let _ = converse(&stream.unwrap(), does, &hears);
            }
        });
        SmtpServer { address, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().join("\n")
    }
}

fn converse(stream: &TcpStream, does: Does, heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut out = stream;
    let mut lines = BufReader::new(stream).lines();
    out.write_all(b"220 mail.test ESMTP\r\n")?;
    let mut in_data = false;
    while let Some(line) = lines.next().transpose()? {
        heard.lock().unwrap().push(line.clone());
        let answer = match line.to_ascii_uppercase() {
            _ if in_data && line != "." => continue,
            _ if in_data => {
                in_data = false;
                "250 taken\r\n"
            }
            it if it.starts_with("EHLO") => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            it if it.starts_with("AUTH PLAIN") => "235 welcome\r\n",
            it if it.starts_with("RCPT") => match does {
                Does::Take => "250 known\r\n",
                Does::Answer(answer) => answer,
                Does::HangUp => return Ok(()),
            },
            it if it.starts_with("DATA") => {
                in_data = true;
                "354 go on\r\n"
            }
            it if it.starts_with("QUIT") => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        out.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn mail(to: &str) -> Mail {
    let text = "Ein Code fuer Ada:\n\ntrv_rst_x\n.\nEnd.\n".into();
    Mail { to: to.into(), subject: "Reset your password".into(), text, id: None }
}

#[test]
fn a_mail_arrives_over_smtp_with_a_login() {
    let server = SmtpServer::start(Does::Take);
    let url = format!("smtp://ada%40relay:s3cret@{}", server.address);
    mailer(&url, FROM).unwrap().send(&mail("ada@example.org")).unwrap();
    let heard = server.heard();
    for part in [
        "MAIL FROM:<no-reply@flows.example.org>",
        "RCPT TO:<ada@example.org>",
        "From: TRAAVIIS <no-reply@flows.example.org>",
        "To: ada@example.org",
        "Subject: Reset your password",
        "Message-ID: <",
        "trv_rst_x",
        "End.",
        // base64 of NUL ada@relay NUL s3cret.
        "AUTH PLAIN AGFkYUByZWxheQBzM2NyZXQ=",
    ] {
        assert!(heard.contains(part), "{part} is not in\n{heard}");
    }
}

/// A token stays on one line, whoever reads the file; what is not ASCII arrives, too.
#[test]
fn a_long_token_is_not_broken() {
    let token = format!("trv_rst_{}", "x".repeat(80));
    let folder = tempfile::tempdir().unwrap();
    let mailer = FolderMailer::new(folder.path(), FROM).unwrap();
    let text = |name: &str| format!("For {name}:\n\n{token}\n");
    let mail = |name| Mail { text: text(name), ..mail("ada@example.org") };
    mailer.send(&mail("Ada")).unwrap();
    mailer.send(&mail("Zoë")).unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let texts: Vec<String> =
        files.map(|it| std::fs::read_to_string(it.unwrap().path()).unwrap()).collect();
    let ascii = texts.iter().find(|it| it.contains("For Ada")).unwrap();
    assert!(ascii.lines().any(|it| it == token), "{ascii}");
    assert!(texts.iter().any(|it| it.contains("Zo=C3=AB")), "{texts:?}");
}

#[test]
fn what_a_server_refuses_is_told_without_the_address() {
    let send = |does: Does| {
        let server = SmtpServer::start(does);
        let url = format!("smtp://{}", server.address);
        mailer(&url, FROM).unwrap().send(&mail("ada@example.org")).unwrap_err()
    };
    let no_such = send(Does::Answer("550 no such user ada@example.org\r\n"));
    assert!(matches!(&no_such, MailError::Refused(_)), "{no_such:?}");
    assert!(no_such.to_string().contains("550"), "{no_such}");
    let busy = send(Does::Answer("451 try later, ada@example.org\r\n"));
    assert!(matches!(&busy, MailError::Later(_)), "{busy:?}");
    let gone = send(Does::HangUp);
    assert!(matches!(&gone, MailError::Later(_)), "{gone:?}");
    for error in [no_such, busy, gone] {
        assert!(!format!("{error:?}").contains("ada@"), "{error:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = mailer(&format!("smtp://{closed}"), FROM).unwrap().send(&mail("ada@example.org"));
    assert!(matches!(away, Err(MailError::Later(_))), "{away:?}");
}

/// A server that offers no encryption gets neither password nor mail when it is demanded.
#[test]
fn without_the_encryption_that_is_demanded_nothing_is_said() {
    let server = SmtpServer::start(Does::Take);
    let url = format!("smtp://ada:s3cret@{}?tls=required", server.address);
    let refused = mailer(&url, FROM).unwrap().send(&mail("ada@example.org"));
    assert!(refused.unwrap_err().to_string().contains("does not offer"));
    let heard = server.heard();
    assert!(!heard.contains("AUTH") && !heard.contains("ada"), "{heard}");
}

#[test]
fn a_mail_in_a_folder_is_a_file_that_nobody_else_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("mail");
    let mailer = FolderMailer::new(&inner, FROM).unwrap();
    mailer.send(&mail("ada@example.org")).unwrap();
    mailer.send(&mail("bob@example.org")).unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(&inner).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains("To: ada@example.org") && text.contains("trv_rst_x"), "{text}");
    assert!(files[0].extension().is_some_and(|it| it == "eml"));
    assert_eq!(std::fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn addresses_of_mail_servers_are_checked_and_passwords_not_repeated() {
    for (url, is_good) in [
        ("smtps://u:s3cret@mail.example.org", true),
        ("smtp://u:s3cret@mail.example.org", true),
        ("smtp://relay.internal:25?tls=none", true),
        ("smtp://mail.example.org?tls=opportunistic", false),
        ("https://u:s3cret@mail.example.org", false),
        ("mail.example.org", false),
        ("smtp:", false),
        ("", false),
    ] {
        let made = mailer(url, FROM);
        assert_eq!(made.is_ok(), is_good, "{url}");
        if let Err(error) = made {
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
    assert!(mailer("smtp://localhost", "nobody").is_err());
    let injected = Mail { to: "a@b.co\r\nBcc: c@d.co".into(), ..mail("") };
    let folder = tempfile::tempdir().unwrap();
    let refused = FolderMailer::new(folder.path(), FROM).unwrap().send(&injected);
    assert!(matches!(refused, Err(MailError::Refused(_))), "{refused:?}");
}
