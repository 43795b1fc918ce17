-- +goose Up

-- Keys of the instance itself, which many nodes share and no rotation of the master key ends, by what they are for.
CREATE TABLE instance_keys (
  purpose {{text}} PRIMARY KEY,
  value   BYTEA NOT NULL -- sealed, bound to purpose
);

-- Personal access tokens. A row is deleted with its owner and when the token is revoked; expired ones are kept for a while,
-- to be listed.
CREATE TABLE personal_access_tokens (
  id         {{text}} PRIMARY KEY, -- SKPT…; a part of the token
  account    {{text}} NOT NULL,
  owner      {{text}} REFERENCES identities (id) ON DELETE CASCADE, -- the user; null for root
  name       {{text}} NOT NULL,
  scopes     TEXT NOT NULL,   -- with commas between; '' for all
  hash       BYTEA NOT NULL,  -- HMAC-SHA256 of the token
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at    BIGINT NOT NULL  -- 0: never
);
CREATE INDEX personal_access_tokens_owner ON personal_access_tokens (account, owner);
CREATE INDEX personal_access_tokens_identity ON personal_access_tokens (owner) WHERE owner IS NOT NULL;
CREATE INDEX personal_access_tokens_expires ON personal_access_tokens (expires_at);

-- Tokens of jobs that run.
CREATE TABLE job_tokens (
  id         {{text}} PRIMARY KEY, -- SKJT…; a part of the token
  account    {{text}} NOT NULL,
  owner      {{text}} NOT NULL REFERENCES identities (id) ON DELETE CASCADE, -- the role
  job        {{text}} NOT NULL,
  grants     TEXT NOT NULL,  -- JSON: who it acts as and within which bounds
  hash       BYTEA NOT NULL, -- HMAC-SHA256 of the token
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX job_tokens_owner ON job_tokens (owner);
CREATE INDEX job_tokens_job ON job_tokens (job);
CREATE INDEX job_tokens_expires ON job_tokens (expires_at);

-- Temporary credentials that end with a job.
CREATE TABLE job_sessions (
  id  {{text}} PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
  job {{text}} NOT NULL
) {{without_rowid}};
CREATE INDEX job_sessions_job ON job_sessions (job);

-- What the instance signs identity tokens with.
CREATE TABLE issuer_keys (
  id         {{text}} PRIMARY KEY, -- kid
  value      BYTEA NOT NULL,       -- sealed PKCS #8, bound to id
  public     TEXT NOT NULL,        -- JSON Web Key
  created_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE issuer_keys;
DROP TABLE job_sessions;
DROP TABLE job_tokens;
DROP TABLE personal_access_tokens;
DROP TABLE instance_keys;
