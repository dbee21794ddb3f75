//! What tenants keep is weighed once, however often a process begins, and again where it changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex},
};

use serde_json::Value as Json;
use traaviis_model::{InstanceId, Snapshot, TenantCtx, TenantId, Value, permission::Permission};
use traaviis_platform::{
    Error,
    ask::Ask,
    engine::{Engine, LogPart},
    storage::Stored,
};
use traaviis_policy::access::{Action, Freshness};

use crate::{
    never_asked::{never_asked, types::*},
    world::World,
};

/// Whose line stands at a position, and its bytes.
type Weights = BTreeMap<u64, (TenantId, u64)>;

/// A log of parts with so many bytes of tenants at each position, which counts what is read of it.
#[derive(Default)]
struct Weighs {
    parts: Mutex<Vec<(LogPart, Weights)>>,
    read: Mutex<u64>,
    changed: Mutex<BTreeSet<TenantId>>,
    looked_at: Mutex<Vec<TenantId>>,
}

impl Weighs {
    fn put(&self, at: usize, (within, mark): (Range<u64>, Option<u64>), lines: &[(TenantId, u64)]) {
        let lines = (within.start..).zip(lines.iter().copied()).collect();
        let part = (LogPart { within, mark }, lines);
        let mut parts = self.parts.lock().unwrap();
        match parts.get_mut(at) {
            Some(there) => *there = part,
            None => parts.push(part),
        }
    }

    /// Returns how many positions were read since this was asked last.
    fn read(&self) -> u64 {
        std::mem::take(&mut *self.read.lock().unwrap())
    }
}

impl Engine for Weighs {
    fn log_parts(&self) -> Result<Vec<LogPart>, Error> {
        Ok(self.parts.lock().unwrap().iter().map(|it| it.0.clone()).collect())
    }

    fn weigh_log(
        &self,
        within: Range<u64>,
        add: &mut dyn FnMut(TenantId, u64),
    ) -> Result<(), Error> {
        *self.read.lock().unwrap() += within.end - within.start;
        for (_, lines) in &*self.parts.lock().unwrap() {
            lines.range(within.clone()).for_each(|(_, (tenant, bytes))| add(*tenant, *bytes));
        }
        Ok(())
    }

    fn take_changed_files(&self) -> BTreeSet<TenantId> {
        std::mem::take(&mut *self.changed.lock().unwrap())
    }

    fn weigh_files(&self, ctx: &TenantCtx) -> Result<Stored, Error> {
        self.looked_at.lock().unwrap().push(ctx.tenant());
        Ok(Stored { blobs: 1_000_000, ..Stored::default() })
    }

    never_asked! {}

    fn destroy(&self, _: &TenantCtx) -> Result<(), Error> {
        unreachable!()
    }

    fn ask(&self, _: &TenantCtx, _: Ask) -> Result<Json, Error> {
        unreachable!()
    }
}

#[test]
fn full_parts_are_read_once_and_again_when_something_was_dropped() {
    let mut world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let caller = world.caller(&ada);
    let of = |world: &World| {
        let needs = Action::Needs(Permission::AnalyticsView);
        let entered = world.platform.enter(&caller, tenant, needs, Freshness::Any).unwrap();
        let stored = world.platform.usage(&entered, None).unwrap().stored.unwrap();
        (stored.log, stored.blobs)
    };
    let (other, engine) = (TenantId(uuid::Uuid::from_u128(9)), Weighs::default());
    engine.put(0, (0..3, Some(64)), &[(tenant, 10), (other, 5), (tenant, 1)]);
    engine.put(1, (3..5, Some(64)), &[(tenant, 100), (tenant, 200)]);
    engine.put(2, (5..6, None), &[(tenant, 1_000)]);
    world.platform.weigh(&engine).unwrap();
    assert_eq!((of(&world), engine.read()), ((1_311, 1_000_000), 6));
    // The part that is written is read on, full ones are not.
    engine.put(2, (5..7, None), &[(tenant, 1_000), (tenant, 2_000)]);
    world.platform.weigh(&engine).unwrap();
    assert_eq!((of(&world).0, engine.read()), (3_311, 1));
    // The next process reads the part that is written.
    world = world.restarted();
    world.platform.weigh(&engine).unwrap();
    assert_eq!((of(&world).0, engine.read()), (3_311, 2));
    // One is full, and in another one compaction has dropped something.
    engine.put(0, (0..3, Some(32)), &[(other, 5)]);
    engine.put(2, (5..7, Some(64)), &[(tenant, 1_000), (tenant, 2_000)]);
    engine.put(3, (7..7, None), &[]);
    world.platform.weigh(&engine).unwrap();
    assert_eq!((of(&world).0, engine.read()), (3_300, 5));
    world = world.restarted();
    world.platform.weigh(&engine).unwrap();
    assert_eq!((of(&world).0, engine.read()), (3_300, 0));

    // Files: of everybody once in a process, then of those of whom some came or went.
    engine.looked_at.lock().unwrap().clear();
    world.platform.weigh(&engine).unwrap();
    assert_eq!(*engine.looked_at.lock().unwrap(), []);
    engine.changed.lock().unwrap().insert(tenant);
    world.platform.weigh(&engine).unwrap();
    assert_eq!(*engine.looked_at.lock().unwrap(), [tenant]);
}
