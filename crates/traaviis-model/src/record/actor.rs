//! Who caused a record.

use serde::{Deserialize, Serialize};

use crate::ids::Text;

/// Who caused a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Kind of actor.
    #[serde(rename = "type")]
    pub kind: ActorKind,
    /// Its id inside the kind.
    pub id: Text,
}

impl Actor {
    /// Returns the actor as records name it: `kind:id`.
    pub fn text(&self) -> Text {
        format!("{}:{}", self.kind.as_str(), self.id).into()
    }

    /// Whoever runs the command line on this machine.
    pub fn local() -> Actor {
        Actor { kind: ActorKind::User, id: "local".into() }
    }

    /// The engine itself.
    pub fn engine() -> Actor {
        Actor { kind: ActorKind::Engine, id: "engine".into() }
    }
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person.
    User,
    /// An API key.
    Key,
    /// A service account.
    Service,
    /// The engine itself.
    Engine,
    /// An AI agent.
    Agent,
}

impl ActorKind {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorKind::User => "user",
            ActorKind::Key => "key",
            ActorKind::Service => "service",
            ActorKind::Engine => "engine",
            ActorKind::Agent => "agent",
        }
    }
}
