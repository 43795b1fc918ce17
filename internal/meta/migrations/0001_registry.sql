-- +goose Up

-- Times are Unix microseconds everywhere. {{text}} orders bytewise on both databases.

-- What an account set for its whole registry; JSON of registry.Settings.
CREATE TABLE registry_settings (
  account  TEXT PRIMARY KEY,
  settings TEXT NOT NULL
);

CREATE TABLE repositories (
  id         {{serial}},
  account    TEXT NOT NULL,
  name       {{text}} NOT NULL,
  created_at BIGINT NOT NULL,
  settings   TEXT NOT NULL, -- JSON of registry.RepositorySettings
  tags       TEXT NOT NULL, -- JSON object: the resource tags
  UNIQUE (account, name)
);

-- One row a content. The bytes are in data, or in the blob store under location, a key that is never used again. With
-- neither they are known to be lost: nobody is told that the blob is there, and the next push of it brings them.
CREATE TABLE blobs (
  id         {{serial}},
  digest     TEXT NOT NULL UNIQUE,
  size       BIGINT NOT NULL,
  location   TEXT NOT NULL, -- '' when the bytes are in data
  created_at BIGINT NOT NULL,
  data       BYTEA
);
CREATE INDEX blobs_location ON blobs (location) WHERE location <> '';
CREATE INDEX blobs_size ON blobs (size); -- for their sum

-- Which repository may see which blob. touched_at is the last time a client was told that the blob is there, or that a
-- manifest stopped needing it: collection leaves the row alone for the grace time from then on.
CREATE TABLE repository_blobs (
  repository_id BIGINT NOT NULL REFERENCES repositories (id),
  blob_id       BIGINT NOT NULL REFERENCES blobs (id),
  touched_at    BIGINT NOT NULL,
  PRIMARY KEY (repository_id, blob_id)
){{without_rowid}};
CREATE INDEX repository_blobs_blob ON repository_blobs (blob_id);
CREATE INDEX repository_blobs_touched ON repository_blobs (touched_at);

CREATE TABLE manifests (
  id                {{serial}},
  repository_id     BIGINT NOT NULL REFERENCES repositories (id),
  digest            {{text}} NOT NULL,
  media_type        TEXT NOT NULL,
  artifact_type     TEXT NOT NULL,
  config_media_type TEXT NOT NULL,
  subject           TEXT NOT NULL, -- digest, '' for none
  descriptor        TEXT NOT NULL, -- JSON: the entry of a referrers list; '' where there is no subject
  content_size      BIGINT NOT NULL, -- of the blobs it names
  pushed_at         BIGINT NOT NULL,
  pulled_at         BIGINT NOT NULL, -- 0: never
  untagged_at       BIGINT NOT NULL, -- since when no tag and no index names it; 0 while one does
  size              BIGINT NOT NULL,
  data              BYTEA NOT NULL,
  UNIQUE (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject <> '';
CREATE INDEX manifests_untagged ON manifests (untagged_at) WHERE untagged_at > 0;

CREATE TABLE tags (
  repository_id BIGINT NOT NULL REFERENCES repositories (id),
  name          {{text}} NOT NULL,
  manifest_id   BIGINT NOT NULL REFERENCES manifests (id),
  pushed_at     BIGINT NOT NULL,
  PRIMARY KEY (repository_id, name)
){{without_rowid}};
CREATE INDEX tags_manifest ON tags (manifest_id);

-- What a manifest needs. The foreign keys make it impossible to delete a blob's row, or a child, that one needs.
CREATE TABLE manifest_blobs (
  manifest_id   BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
  repository_id BIGINT NOT NULL,
  blob_id       BIGINT NOT NULL,
  PRIMARY KEY (manifest_id, blob_id),
  FOREIGN KEY (repository_id, blob_id) REFERENCES repository_blobs (repository_id, blob_id)
){{without_rowid}};
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repository_id, blob_id);

CREATE TABLE manifest_children (
  manifest_id BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
  child_id    BIGINT NOT NULL REFERENCES manifests (id),
  PRIMARY KEY (manifest_id, child_id)
){{without_rowid}};
CREATE INDEX manifest_children_child ON manifest_children (child_id);

-- What a manifest names and the repository did not have when it was pushed: foreign layers, and what sparse manifests
-- leave out. If it comes later, collection keeps it as if the manifest needed it.
CREATE TABLE manifest_missing (
  manifest_id   BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
  repository_id BIGINT NOT NULL,
  digest        TEXT NOT NULL,
  PRIMARY KEY (manifest_id, digest)
){{without_rowid}};
CREATE INDEX manifest_missing_digest ON manifest_missing (repository_id, digest);

-- Uploads that were cancelled; their ids are good for nothing more.
CREATE TABLE ended_uploads (
  id       TEXT PRIMARY KEY,
  ended_at BIGINT NOT NULL
);

-- Keys of the blob store that no row of blobs names, to be deleted once delete_at is past. 0: they are being deleted, and
-- no row may name them again.
CREATE TABLE garbage (
  location  TEXT PRIMARY KEY,
  size      BIGINT NOT NULL,
  delete_at BIGINT NOT NULL
);
CREATE INDEX garbage_delete_at ON garbage (delete_at);

-- While a row's until is ahead, no bytes are deleted: a backup or a move is reading.
CREATE TABLE gc_holds (
  id     TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  until  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE gc_holds;
DROP TABLE garbage;
DROP TABLE ended_uploads;
DROP TABLE manifest_missing;
DROP TABLE manifest_children;
DROP TABLE manifest_blobs;
DROP TABLE tags;
DROP TABLE manifests;
DROP TABLE repository_blobs;
DROP TABLE blobs;
DROP TABLE repositories;
DROP TABLE registry_settings;
