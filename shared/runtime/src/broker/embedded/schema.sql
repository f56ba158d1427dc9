-- The embedded queue. Its version is VERSION in file.rs.

-- A queue delivers in the order of `id`. A message is free if it has no owner and no due time.
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    queue       TEXT NOT NULL,
    key         TEXT NOT NULL,
    headers     TEXT NOT NULL,
    body        BLOB NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- The error of the last attempt, or what the message waited for.
    error       TEXT,
    -- When its wait for a retry is over, in milliseconds since the Unix epoch.
    due         INTEGER,
    -- When that wait began, by the same clock.
    delayed     INTEGER,
    -- The process that has it in hand.
    owner       TEXT,
    -- Counts the times it was taken, so that an old taker can't settle it.
    claim       INTEGER NOT NULL DEFAULT 0,
    claimed     INTEGER,
    redelivered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX free ON messages (queue, id) WHERE owner IS NULL AND due IS NULL;
CREATE INDEX delayed ON messages (due) WHERE due IS NOT NULL;
CREATE INDEX owned ON messages (owner) WHERE owner IS NOT NULL;

-- How many rows `messages` has for each queue. It changes in the same transactions, and
-- spares publishers the counting.
CREATE TABLE lengths (
    queue    TEXT PRIMARY KEY,
    messages INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    id       TEXT PRIMARY KEY,
    queue    TEXT NOT NULL,
    key      TEXT NOT NULL,
    headers  TEXT NOT NULL,
    body     BLOB NOT NULL,
    kind     TEXT NOT NULL,
    stage    TEXT NOT NULL,
    error    TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at       INTEGER NOT NULL
);
