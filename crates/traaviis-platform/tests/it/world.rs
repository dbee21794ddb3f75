//! A platform over memory, with people in it.

use std::sync::Arc;

use traaviis_model::{TenantId, Timestamp, permission::Permission};
use traaviis_platform::{
    Caller, Entered, Entropy, Error, Platform, Settings, Ways,
    accounts::{LoggedIn, Registration},
    audit::Via,
    mail::Outbox,
};
use traaviis_policy::access::{Action, Freshness};
use traaviis_testkit::{
    clock::SimClock, memory_documents::MemoryDocuments, memory_log::MemoryLog,
    memory_vault::MemoryVault,
};

/// A password that is taken.
pub const PASSWORD: &str = "correct horse battery";

/// Everything that outlives a platform.
pub struct World {
    pub log: Arc<MemoryLog>,
    pub documents: Arc<MemoryDocuments>,
    pub vault: Arc<MemoryVault>,
    pub clock: Arc<SimClock>,
    pub platform: Arc<Platform>,
}

impl World {
    pub fn new() -> World {
        let log = Arc::new(MemoryLog::new());
        let (documents, vault) = (Arc::default(), Arc::default());
        let clock = Arc::new(SimClock::new(Timestamp(1_800_000_000_000_000)));
        World::over(log, documents, vault, clock, (1, Settings::default()))
    }

    /// Opens the platform again with other settings.
    pub fn with_settings(self, settings: Settings) -> World {
        let World { log, documents, vault, clock, .. } = self;
        World::over(log, documents, vault, clock, (4, settings))
    }

    fn over(
        log: Arc<MemoryLog>,
        documents: Arc<MemoryDocuments>,
        vault: Arc<MemoryVault>,
        clock: Arc<SimClock>,
        (seed, settings): (u64, Settings),
    ) -> World {
        let ways = Ways {
            log: Arc::clone(&log) as Arc<_>,
            documents: Arc::clone(&documents) as Arc<_>,
            vault: Arc::clone(&vault) as Arc<_>,
            clock: Arc::clone(&clock) as Arc<_>,
            entropy: Entropy::seeded(seed),
        };
        let platform = Arc::new(Platform::open(ways, settings).unwrap());
        World { log, documents, vault, clock, platform }
    }

    /// Returns it with what carries mail.
    pub fn with_outbox(self, outbox: Outbox) -> World {
        let World { log, documents, vault, clock, platform } = self;
        let platform = Arc::into_inner(platform).expect("nobody else uses it yet");
        World { log, documents, vault, clock, platform: Arc::new(platform.with_outbox(outbox)) }
    }

    /// Opens the platform again over what there is.
    pub fn restarted(self) -> World {
        let World { log, documents, vault, clock, .. } = self;
        World::over(log, documents, vault, clock, (2, Settings::default()))
    }

    /// Opens the platform again over the log alone.
    pub fn rebuilt(self) -> World {
        let World { log, vault, clock, .. } = self;
        World::over(log, Arc::default(), vault, clock, (3, Settings::default()))
    }

    /// Tries to open the platform again, over a log and documents.
    pub fn reopened(
        &self,
        log: Arc<MemoryLog>,
        documents: Arc<MemoryDocuments>,
    ) -> Result<Platform, Error> {
        let ways = Ways {
            log,
            documents,
            vault: Arc::clone(&self.vault) as Arc<_>,
            clock: Arc::clone(&self.clock) as Arc<_>,
            entropy: Entropy::seeded(5),
        };
        Platform::open(ways, Settings::default())
    }

    pub fn register(&self, email: &str) -> LoggedIn {
        let given = Registration {
            email: email.into(),
            password: PASSWORD.into(),
            name: None,
            organisation: None,
        };
        self.platform.register(given, &via()).unwrap()
    }

    pub fn log_in(&self, email: &str) -> LoggedIn {
        self.platform.log_in(email, PASSWORD, None, &via()).unwrap()
    }

    pub fn caller(&self, logged_in: &LoggedIn) -> Caller {
        self.platform.authenticate(&logged_in.access_token, via()).unwrap()
    }

    pub fn enter(
        &self,
        caller: &Caller,
        tenant: TenantId,
        action: Action,
    ) -> Result<Entered, Error> {
        self.platform.enter(caller, tenant, action, Freshness::Any)
    }

    pub fn manager(&self, caller: &Caller, tenant: TenantId) -> Entered {
        self.enter(caller, tenant, Action::Needs(Permission::TenantUserManagement)).unwrap()
    }

    /// Registers somebody and makes them a member of a tenant.
    pub fn join(&self, email: &str, role: &str, by: &LoggedIn) -> LoggedIn {
        let boss = self.caller(by);
        let tenant = by.tenant.as_ref().unwrap().tenant.id;
        let entered = self.manager(&boss, tenant);
        let invited = self.platform.invite(&boss, &entered, email, role, None).unwrap();
        let joined = self.register(email);
        let caller = self.caller(&joined);
        assert_eq!(self.platform.accept(&caller, &invited.token.unwrap()), Ok(tenant));
        joined
    }
}

pub fn via() -> Via {
    Via { ip_address: Some("192.0.2.1".into()), request_id: Some("r1".into()), ..Via::default() }
}

pub fn code<T>(result: Result<T, Error>) -> String {
    result.map_or_else(|it| it.code.into_owned(), |_| "ok".into())
}
