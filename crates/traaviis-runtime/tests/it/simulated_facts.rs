//! What happened in simulations, so that one in which nothing does proves nothing.

/// Counts of one run, or of all.
#[derive(Debug, Default)]
pub struct Facts {
    pub hash: u64,
    pub crashes: u64,
    pub acknowledged: u64,
    pub records: usize,
    pub full: u64,
    /// Outcomes that an instance kept without taking them.
    pub held: u64,
    /// What owners sent each other.
    pub letters: u64,
    /// Messages between instances that were taken.
    pub told: u64,
    /// Children that completed for a parent which waited.
    pub raised: u64,
    /// Emissions that subscribers heard.
    pub heard: u64,
    /// Instances that went on with another version, or back.
    pub upgraded: u64,
    /// Instances that had failed and went on.
    pub retried: u64,
    /// Effects outside of states that came to their end.
    pub asked: u64,
    /// Those of them that undid what they did.
    pub undone: u64,
    /// Instances that left for the archive.
    pub archived: u64,
    /// Records that the log dropped because the archive has them.
    pub dropped: u64,
    /// Jumps of the wall clock that are recorded.
    pub jumped: u64,
    /// States that were not in memory, each time that states were saved.
    pub rested: u64,
    /// Timers that waited longer because of one.
    pub delayed: u64,
    pub ended: usize,
}

impl Facts {
    /// Adds the facts of one run.
    pub fn add(&mut self, one: &Facts) {
        self.crashes += one.crashes;
        self.acknowledged += one.acknowledged;
        self.records += one.records;
        self.full += one.full;
        self.held += one.held;
        self.letters += one.letters;
        self.told += one.told;
        self.raised += one.raised;
        self.heard += one.heard;
        self.upgraded += one.upgraded;
        self.retried += one.retried;
        self.asked += one.asked;
        self.undone += one.undone;
        self.archived += one.archived;
        self.dropped += one.dropped;
        self.jumped += one.jumped;
        self.rested += one.rested;
        self.delayed += one.delayed;
        self.ended += one.ended;
    }
}
