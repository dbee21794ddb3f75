//! Runs a program of tests, shows what it says as it says it, and repeats at the end what failed:
//! of a run that printed ten thousand lines, the last page should say what is wrong.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::{Error, show};

/// Lines of what one program of tests says of its failures that are repeated: the names and the
/// panics of a few tests; more than that is a build that is broken as a whole.
const REPEATED_LINES: usize = 200;

/// Runs `command`; its failures stand in the error, too.
///
/// # Errors
///
/// When the command cannot be started, or does not end well.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let shown = show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    let stdout = child.stdout.take().ok_or("a program without standard output")?;
    let told = follow(BufReader::new(stdout), &mut std::io::stdout())
        .map_err(|error| format!("cannot read what `{shown}` says: {error}"))?;
    let status = child.wait().map_err(|error| format!("cannot wait for `{shown}`: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("`{shown}` ended with {status}\n{told}"))
}

/// Copies everything to `out` and returns what is said between `failures:` and the result.
fn follow(mut input: impl BufRead, out: &mut impl Write) -> std::io::Result<String> {
    let (mut told, mut line) = (String::new(), Vec::new());
    let mut block: Option<Vec<String>> = None;
    while input.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        if text.trim_end() == "failures:" {
            block.get_or_insert_default();
        }
        let Some(lines) = &mut block else { continue };
        let is_last = text.starts_with("test result:");
        lines.push(text);
        if is_last {
            told.push_str(&shortened(lines));
            block = None;
        }
    }
    // A program that was killed in the middle never gave its result.
    told.extend(block.iter().map(|it| shortened(it)));
    Ok(told)
}

/// The names of what failed stand last, so the end is kept, and of the rest the beginning.
fn shortened(lines: &[String]) -> String {
    if lines.len() <= REPEATED_LINES {
        return lines.concat();
    }
    let half = REPEATED_LINES / 2;
    let left_out = lines.len() - 2 * half;
    let (head, tail) = (lines[..half].concat(), lines[lines.len() - half..].concat());
    format!("{head}[{left_out} lines left out]\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(said: &str) -> String {
        let mut copied = Vec::new();
        let told = follow(said.as_bytes(), &mut copied).unwrap();
        assert_eq!(String::from_utf8(copied).unwrap(), said);
        told
    }

    #[test]
    fn what_failed_is_told_again() {
        let good = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed\n";
        let bad = "failures:\n\n---- b stdout ----\npanicked\n\nfailures:\n    b\n\n\
                   test result: FAILED. 0 passed; 1 failed\n";
        assert_eq!(followed(good), "");
        assert_eq!(followed(&format!("{good}test b ... FAILED\n\n{bad}{good}")), bad);
        // Two programs, and one that was killed.
        assert_eq!(followed(&format!("{bad}{good}{bad}")), format!("{bad}{bad}"));
        assert_eq!(followed("failures:\n---- b"), "failures:\n---- b");
    }

    #[test]
    fn of_much_the_ends_are_told() {
        let many: String = (0..1_000).map(|it| format!("line {it}\n")).collect();
        let told = followed(&format!("failures:\n{many}test result: FAILED\n"));
        assert_eq!(told.lines().count(), REPEATED_LINES + 1);
        assert!(told.contains("[802 lines left out]"), "{told}");
        assert!(told.ends_with("line 999\ntest result: FAILED\n"));
    }
}
