-- The newest version of every document; see documents.rs. Can be made again from the log.
CREATE TABLE progress (position INTEGER NOT NULL);
INSERT INTO progress VALUES (0);
CREATE TABLE documents (
    tenant  BLOB NOT NULL,
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    version INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    body    BLOB, -- none when it was removed
    PRIMARY KEY (tenant, kind, id)
) WITHOUT ROWID;
