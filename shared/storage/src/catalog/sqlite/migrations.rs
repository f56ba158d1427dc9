//! The version of the tables, and the steps that bring an older file to it.
//!
//! A change of schema.sql is a new version, and a step here that makes the same of a file of the
//! version before. A step runs in the transaction in which the file is opened, so that of several
//! processes one makes it, whole or not at all.

use maskline_foundation::sqlite::Migration;

/// The version of schema.sql, kept in the file's `user_version`.
pub(super) const VERSION: i32 = 7;

/// The steps, the oldest first. A file of a version before the first is refused.
pub(super) const MIGRATIONS: [Migration; 2] = [
    // Sources, images and locations can be removed.
    Migration {
        from: 5,
        statements: "
            ALTER TABLE claims ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;
            CREATE TABLE removed_places (
                collection TEXT NOT NULL,
                place      TEXT NOT NULL,
                PRIMARY KEY (collection, place)
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX candidates_by_landing_page
                ON candidates (collection, json_extract(provenance, '$.landing_page'))
                WHERE json_extract(provenance, '$.landing_page') IS NOT NULL;
            UPDATE jobs SET record = json_set(record, '$.purged', json('false'));
        ",
    },
    // Networks are tuned.
    Migration {
        from: 6,
        statements: "
            CREATE TABLE studies (
                id      TEXT PRIMARY KEY,
                created INTEGER NOT NULL,
                record  TEXT NOT NULL
            ) STRICT;
            CREATE TABLE trial_results (
                study   TEXT NOT NULL,
                rung    INTEGER NOT NULL,
                trial   INTEGER NOT NULL,
                outcome TEXT NOT NULL,
                PRIMARY KEY (study, rung, trial)
            ) STRICT, WITHOUT ROWID;
        ",
    },
];
