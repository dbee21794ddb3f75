//! `traaviis tag`: the tags of an instance.

use std::{collections::BTreeSet, ffi::OsString};

use traaviis_model::{Text, record::Operation};

use crate::{
    control::protocol::Ask,
    exit::{Exit, Failure},
    operations::{self, DataArgs},
    output::Output,
};

/// Changes the tags of an instance: `+urgent` adds one, `-urgent` takes it away.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    #[command(flatten)]
    change: TagChange,
    #[command(flatten)]
    data: DataArgs,
}

/// What shall become of tags.
#[derive(Debug, clap::Args)]
pub struct TagChange {
    /// Tag that it shall have; may be repeated.
    #[arg(value_name = "+TAG")]
    add: Vec<String>,
    /// Tag that it shall not have; may be repeated. Written `-TAG` for short.
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
}

impl TagChange {
    /// Returns the tags to add and to take away.
    pub fn read(&self) -> Result<(BTreeSet<Text>, BTreeSet<Text>), Failure> {
        let text = |it: &str| Text::from(it);
        let add = self.add.iter().map(|it| {
            it.strip_prefix('+').map(text).ok_or_else(|| {
                Failure::usage(format!("write `+{it}` to add the tag, `-{it}` to take it away"))
            })
        });
        let add = add.collect::<Result<BTreeSet<Text>, Failure>>()?;
        let remove: BTreeSet<Text> = self.remove.iter().map(|it| text(it)).collect();
        if add.is_empty() && remove.is_empty() {
            return Err(Failure::usage("name a tag: `+TAG` adds it, `-TAG` takes it away"));
        }
        Ok((add, remove))
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (add, remove) = args.change.read()?;
    let ask = Ask::Operate { id: args.id.clone(), operation: Operation::Tag { add, remove } };
    operations::change(&args.data, ask, "tags changed", output)
}

/// Spells `-TAG` out for `tag` and `bulk tag`, whose only short option is `-h`. The parser would
/// take it for a bundle of short options.
pub fn spelled_out(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let arguments: Vec<OsString> = arguments.collect();
    let words = arguments.iter().skip(1).filter_map(|it| it.to_str());
    let mut words = words.filter(|it| !it.starts_with('-'));
    let is_tag = match words.next() {
        Some("bulk") => words.next() == Some("tag"),
        first => first == Some("tag"),
    };
    if !is_tag {
        return arguments;
    }
    let spelled = arguments.into_iter().map(|it| match it.to_str().and_then(short) {
        Some(tag) => format!("--remove={tag}").into(),
        None => it,
    });
    spelled.collect()
}

fn short(argument: &str) -> Option<&str> {
    let tag = argument.strip_prefix('-')?;
    (!tag.is_empty() && !tag.starts_with('-') && tag != "h").then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_removals_are_spelled_out_for_tags_only() {
        let spelled = |line: &str| {
            let words = spelled_out(line.split(' ').map(OsString::from));
            words.iter().map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("t tag 01 +a -b --data d", "t tag 01 +a --remove=b --data d"),
            ("t --json tag 01 -b-c", "t --json tag 01 --remove=b-c"),
            ("t bulk tag +a -b --workflow W", "t bulk tag +a --remove=b --workflow W"),
            ("t tag -h", "t tag -h"),
            ("t bulk cancel -b", "t bulk cancel -b"),
            ("t send 01 tag -1", "t send 01 tag -1"),
        ] {
            assert_eq!(spelled(line), expected);
        }
    }
}
