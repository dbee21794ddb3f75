//! Places of sockets: how many there are, and how many of them are whose.
//!
//! Invariant: nobody, and no tenant, has so many that others find none.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{ApiKeyId, TenantId, UserId};
use traaviis_platform::{Caller, caller::Proof};

use super::Hub;
use crate::socket::limits::SocketLimits;

/// Whose sockets are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Tenant(TenantId),
    User(UserId),
    Key(ApiKeyId),
}

/// Who opens a socket: the tenant of the token, and whoever shows it.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    tenant: Option<TenantId>,
    who: Whose,
}

impl Owner {
    /// Returns the owner of the sockets of a caller.
    pub fn of(caller: &Caller) -> Owner {
        let who = match caller.proof {
            Proof::Key { id, .. } => Whose::Key(id),
            Proof::Session { .. } | Proof::Exchanged { .. } => Whose::User(caller.user),
        };
        Owner { tenant: caller.scoped_to, who }
    }

    fn all(self) -> impl Iterator<Item = Whose> {
        self.tenant.map(Whose::Tenant).into_iter().chain([self.who])
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are too many sockets.
    Server,
    /// Whoever asks has too many, or the tenant.
    Owner,
}

/// Sockets by whose they are; there are no more rows than twice the sockets.
#[derive(Debug, Default)]
pub struct Places {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Whose, usize>,
    last: u64,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one socket, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    hub: Arc<Hub>,
    owner: Owner,
    /// Number of the socket.
    pub socket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.hub.places.taken();
        taken.all -= 1;
        for whose in self.owner.all() {
            let count = taken.by.entry(whose).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by.remove(&whose);
            }
        }
    }
}

impl Hub {
    /// Takes a socket in, unless there are too many.
    pub fn enter(self: &Arc<Hub>, owner: Owner, limits: &SocketLimits) -> Result<Place, Full> {
        let mut taken = self.places.taken();
        if taken.all >= limits.sockets {
            return Err(Full::Server);
        }
        let is_full = |whose: Whose| {
            let most = match whose {
                Whose::Tenant(_) => limits.of_tenant,
                Whose::User(_) | Whose::Key(_) => limits.of_caller,
            };
            taken.by.get(&whose).is_some_and(|it| *it >= most)
        };
        if owner.all().any(is_full) {
            return Err(Full::Owner);
        }
        taken.all += 1;
        for whose in owner.all() {
            *taken.by.entry(whose).or_default() += 1;
        }
        taken.last += 1;
        let socket = taken.last;
        drop(taken);
        Ok(Place { hub: Arc::clone(self), owner, socket })
    }

    /// Returns how many sockets there are.
    pub fn count(&self) -> usize {
        self.places.taken().all
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn owner(tenant: u128, user: u128) -> Owner {
        let tenant = (tenant > 0).then(|| TenantId(Uuid::from_u128(tenant)));
        Owner { tenant, who: Whose::User(UserId(Uuid::from_u128(user))) }
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let limits =
            SocketLimits { sockets: 6, of_tenant: 4, of_caller: 2, ..SocketLimits::default() };
        let hub = Arc::new(Hub::default());
        let enter = |tenant, user| hub.enter(owner(tenant, user), &limits);
        let mut held = Vec::new();
        for (tenant, user, expected) in [
            (1, 1, None),
            (1, 1, None),
            (1, 1, Some(Full::Owner)),
            // Nor in another tenant, nor without any.
            (2, 1, Some(Full::Owner)),
            (0, 1, Some(Full::Owner)),
            (1, 2, None),
            (1, 3, None),
            (1, 4, Some(Full::Owner)),
            (2, 4, None),
            (0, 5, None),
            (3, 6, Some(Full::Server)),
        ] {
            let entered = enter(tenant, user);
            assert_eq!(entered.as_ref().err(), expected.as_ref(), "{tenant} {user}");
            held.extend(entered);
        }
        assert_eq!(hub.count(), 6);
        held.remove(0);
        held.push(enter(1, 1).unwrap());
        drop(held);
        assert_eq!((hub.count(), hub.places.taken().by.len()), (0, 0));
    }
}
