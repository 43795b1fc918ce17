-- +goose Up

-- What seals the secrets in this database: the newest one what is written, the others what is still there. Each is sealed
-- under a master key, which is not in the database; master is its fingerprint.
CREATE TABLE sealing_keys (
  id     BIGINT PRIMARY KEY,
  master TEXT NOT NULL,
  key    BYTEA NOT NULL
);

CREATE TABLE secrets (
  id          {{text}} PRIMARY KEY, -- <account>/<name>-<6 characters>: what no two secrets ever share
  account     {{text}} NOT NULL,
  name        {{text}} NOT NULL,
  description TEXT NOT NULL,
  kms_key_id  TEXT NOT NULL, -- as given, '' for none
  tags        TEXT NOT NULL, -- JSON object
  policy      TEXT NOT NULL, -- resource policy, '' for none
  created_at  BIGINT NOT NULL,
  changed_at  BIGINT NOT NULL,
  accessed_at BIGINT NOT NULL, -- the day, 0 for never
  deleted_at  BIGINT NOT NULL, -- when its deletion was asked for, 0 unless it was
  remove_at   BIGINT NOT NULL, -- when it goes, 0 unless deleted_at is set
  UNIQUE (account, name)
);
CREATE INDEX secrets_created ON secrets (account, created_at, id);
CREATE INDEX secrets_remove ON secrets (remove_at) WHERE remove_at > 0;

CREATE TABLE secret_versions (
  secret_id   {{text}} NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
  version_id  {{text}} NOT NULL,
  kind        TEXT NOT NULL,  -- string, binary, or reference
  value       BYTEA NOT NULL, -- sealed, bound to secret_id and version_id
  kms_key_id  TEXT NOT NULL,  -- that of the secret at the time
  created_at  BIGINT NOT NULL,
  accessed_at BIGINT NOT NULL, -- the day, 0 for never
  PRIMARY KEY (secret_id, version_id)
);

-- Staging labels: each is at one version.
CREATE TABLE secret_stages (
  secret_id  {{text}} NOT NULL,
  stage      {{text}} NOT NULL,
  version_id {{text}} NOT NULL,
  PRIMARY KEY (secret_id, stage),
  FOREIGN KEY (secret_id, version_id) REFERENCES secret_versions (secret_id, version_id) ON DELETE CASCADE
){{without_rowid}};
CREATE INDEX secret_stages_version ON secret_stages (secret_id, version_id);

-- +goose Down
DROP TABLE secret_stages;
DROP TABLE secret_versions;
DROP TABLE secrets;
DROP TABLE sealing_keys;
