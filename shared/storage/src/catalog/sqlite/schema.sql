-- The catalog's tables. Ids are text (UUIDs with hyphens, SHA-256 in hexadecimal),
-- so that their order is that of the ids and a person can read them; nested
-- things are JSON. A change here is a new version and a step in migrations.rs.

CREATE TABLE collections (
    id         TEXT PRIMARY KEY,
    created    INTEGER NOT NULL,
    -- How often the collection was opened: by a new source, by a candidate that was opened
    -- again, or because something was removed.
    generation INTEGER NOT NULL DEFAULT 0,
    record     TEXT NOT NULL
) STRICT;
CREATE INDEX collections_by_age ON collections (created, id);

CREATE TABLE jobs (
    id         TEXT PRIMARY KEY,
    collection TEXT NOT NULL,
    created    INTEGER NOT NULL,
    -- How often the job was opened again.
    reopened   INTEGER NOT NULL DEFAULT 0,
    record     TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_age ON jobs (created, id);
CREATE INDEX jobs_by_collection ON jobs (collection, json_extract(record, '$.state'));

CREATE TABLE candidates (
    id          TEXT PRIMARY KEY,
    collection  TEXT NOT NULL,
    job         TEXT NOT NULL,
    location    TEXT NOT NULL,
    -- The id of the location.
    place       TEXT NOT NULL,
    label       TEXT,
    provenance  TEXT NOT NULL,
    state       TEXT NOT NULL,
    image       TEXT,
    fetched     TEXT,
    stage       TEXT,
    reason_code TEXT,
    reason      TEXT,
    error       TEXT,
    history     TEXT NOT NULL DEFAULT '[]',
    trace_id    TEXT
) STRICT;
-- It also answers in one step whether any candidate is in flight.
CREATE INDEX candidates_by_state ON candidates (job, state, id);
CREATE INDEX candidates_by_place ON candidates (collection, place) WHERE fetched IS NOT NULL;
CREATE INDEX candidates_by_image ON candidates (image, collection) WHERE image IS NOT NULL;
CREATE INDEX candidates_by_landing_page
    ON candidates (collection, json_extract(provenance, '$.landing_page'))
    WHERE json_extract(provenance, '$.landing_page') IS NOT NULL;

-- How many candidates of a job are in each state, and why those were rejected. Written
-- with each change of a candidate and by nothing else, so that both always agree.
CREATE TABLE ledger (
    job         TEXT NOT NULL,
    state       TEXT NOT NULL,
    -- Empty if there is no reason.
    reason_code TEXT NOT NULL,
    candidates  INTEGER NOT NULL,
    PRIMARY KEY (job, state, reason_code)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER candidate_found AFTER INSERT ON candidates BEGIN
    INSERT INTO ledger VALUES (NEW.job, NEW.state, coalesce(NEW.reason_code, ''), 1)
    ON CONFLICT DO UPDATE SET candidates = candidates + 1;
END;

CREATE TRIGGER candidate_changed AFTER UPDATE OF state, reason_code ON candidates BEGIN
    UPDATE ledger SET candidates = candidates - 1
    WHERE job = OLD.job AND state = OLD.state AND reason_code = coalesce(OLD.reason_code, '');
    INSERT INTO ledger VALUES (NEW.job, NEW.state, coalesce(NEW.reason_code, ''), 1)
    ON CONFLICT DO UPDATE SET candidates = candidates + 1;
END;

CREATE TABLE claims (
    collection TEXT NOT NULL,
    image      TEXT NOT NULL,
    -- NULL for an image that was removed.
    candidate  TEXT,
    -- Whether nothing but this may be left of an image that was removed.
    purged     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (collection, image)
) STRICT, WITHOUT ROWID;

-- Locations that were removed: what is found there is rejected.
CREATE TABLE removed_places (
    collection TEXT NOT NULL,
    -- The id of the location.
    place      TEXT NOT NULL,
    PRIMARY KEY (collection, place)
) STRICT, WITHOUT ROWID;

-- The pixels come last, so that reading the other columns does not touch them.
CREATE TABLE images (
    collection   TEXT NOT NULL,
    job          TEXT NOT NULL,
    image        TEXT NOT NULL,
    candidate    TEXT NOT NULL,
    source       TEXT NOT NULL,
    width        INTEGER NOT NULL,
    height       INTEGER NOT NULL,
    label        TEXT NOT NULL,
    label_origin TEXT NOT NULL,
    prediction   TEXT,
    measurements TEXT NOT NULL,
    binary       BLOB NOT NULL,
    PRIMARY KEY (collection, image)
) STRICT;

CREATE TABLE leases (
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    owner    TEXT,
    beat     INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    done     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- How often something was done by all processes together, see records/quota.rs.
CREATE TABLE quotas (
    key       TEXT PRIMARY KEY,
    -- From this time on the state says nothing, and so it may be forgotten.
    idle_from INTEGER NOT NULL,
    state     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quotas_by_idleness ON quotas (idle_from);

CREATE TABLE datasets (
    id      TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;
CREATE INDEX datasets_by_age ON datasets (created, id);

CREATE TABLE runs (
    id      TEXT PRIMARY KEY,
    dataset TEXT NOT NULL,
    created INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;
CREATE INDEX runs_by_age ON runs (created, id);
CREATE INDEX runs_by_dataset ON runs (dataset, created, id);

CREATE TABLE studies (
    id      TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;

-- What came of each rung of each trial.
CREATE TABLE trial_results (
    study   TEXT NOT NULL,
    rung    INTEGER NOT NULL,
    trial   INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (study, rung, trial)
) STRICT, WITHOUT ROWID;

CREATE TABLE models (
    id      TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;
CREATE INDEX models_by_age ON models (created, id);
