-- +goose Up

-- Sets of agents that jobs ask for by name.
CREATE TABLE pools (
  id          {{text}} PRIMARY KEY,  -- UUID
  account     {{text}} NOT NULL,
  name        {{text}} NOT NULL,
  folded      {{text}} NOT NULL,     -- the name in lower case
  description TEXT NOT NULL,
  open        BIGINT NOT NULL,       -- 1: every pipeline of the account may use it
  cleanup     BIGINT NOT NULL,       -- microseconds after which an agent that is offline is removed; 0: never
  created_at  BIGINT NOT NULL,
  created_by  TEXT NOT NULL,         -- ARN
  UNIQUE (account, folded)
);

-- Pipelines that may use a pool that is not open. A pipeline's id is never used again.
CREATE TABLE pool_pipelines (
  pool     {{text}} NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
  pipeline {{text}} NOT NULL,        -- UUID
  at       BIGINT NOT NULL,
  by_arn   TEXT NOT NULL,
  PRIMARY KEY (pool, pipeline)
) {{without_rowid}};
CREATE INDEX pool_pipelines_pipeline ON pool_pipelines (pipeline);

CREATE TABLE pool_agents (
  id          {{text}} PRIMARY KEY,  -- UUID
  pool        {{text}} NOT NULL REFERENCES pools (id),
  name        {{text}} NOT NULL,
  folded      {{text}} NOT NULL,     -- the name in lower case
  public_key  BYTEA NOT NULL UNIQUE, -- PKIX, DER
  enabled     BIGINT NOT NULL,
  ephemeral   BIGINT NOT NULL,       -- 1: it does one job and is removed
  version     TEXT NOT NULL,
  os          TEXT NOT NULL,
  arch        TEXT NOT NULL,
  host        TEXT NOT NULL,         -- the name of its machine
  system      TEXT NOT NULL,         -- JSON object: capabilities that it found
  custom      TEXT NOT NULL,         -- JSON object: capabilities that people gave it
  reason      TEXT NOT NULL,         -- why it takes no jobs, in its own words; '' for it does
  seen_at     BIGINT NOT NULL,       -- 0: never
  gone_at     BIGINT NOT NULL,       -- when it said goodbye; 0: it has not since
  job         {{text}} NOT NULL,     -- what it does: id of a claim; ''
  job_at      BIGINT NOT NULL,
  enrolled_at BIGINT NOT NULL,
  enrolled_by TEXT NOT NULL,         -- ARN, or how it proved who it is
  method      TEXT NOT NULL,         -- token, code, oidc, sts
  UNIQUE (pool, folded)
);
CREATE INDEX pool_agents_seen ON pool_agents (seen_at);

-- Codes with which one agent can join. The code itself is not here.
CREATE TABLE pool_codes (
  hash       {{text}} PRIMARY KEY,   -- SHA-256, hex
  pool       {{text}} NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
  id         {{text}} NOT NULL UNIQUE,
  agent      {{text}} NOT NULL,      -- the only name it is good for; '' for any
  ephemeral  BIGINT NOT NULL,        -- 1: for an agent of one job only
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,          -- ARN
  expires_at BIGINT NOT NULL
);
CREATE INDEX pool_codes_pool ON pool_codes (pool);
CREATE INDEX pool_codes_expires ON pool_codes (expires_at);

-- Who may join without a code: identities that somebody else vouches for.
CREATE TABLE pool_rules (
  id         {{text}} PRIMARY KEY,   -- UUID
  pool       {{text}} NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
  kind       TEXT NOT NULL,          -- oidc, sts
  issuer     TEXT NOT NULL,          -- oidc: URL
  audience   TEXT NOT NULL,          -- oidc
  subject    TEXT NOT NULL,          -- oidc: pattern with * and ?; sts: pattern of the caller's ARN
  ephemeral  BIGINT NOT NULL,        -- 1: for agents of one job only
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL           -- ARN
);
CREATE INDEX pool_rules_pool ON pool_rules (pool);

-- Proofs of identity that were used up, until they are too old to be shown again.
CREATE TABLE pool_proofs (
  hash       {{text}} PRIMARY KEY,   -- SHA-256, hex
  expires_at BIGINT NOT NULL
);
CREATE INDEX pool_proofs_expires ON pool_proofs (expires_at);

-- +goose Down
DROP TABLE pool_proofs;
DROP TABLE pool_rules;
DROP TABLE pool_codes;
DROP TABLE pool_agents;
DROP TABLE pool_pipelines;
DROP TABLE pools;
