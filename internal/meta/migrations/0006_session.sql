-- +goose Up

-- Temporary credentials. A row is never changed; it is deleted when it has expired, and with what it acts as.
CREATE TABLE sessions (
  id         {{text}} PRIMARY KEY,   -- access key id, "ASIA…"
  account    TEXT NOT NULL REFERENCES accounts (id),
  owner      {{text}} REFERENCES identities (id) ON DELETE CASCADE,  -- the role or user that it acts as; null for root
  parent     {{text}} REFERENCES access_keys (id) ON DELETE CASCADE, -- the access key that it ends with, if any
  secret     BYTEA NOT NULL,         -- sealed with a key derived from the master key and bound to id
  grants     TEXT NOT NULL,          -- JSON: who it acts as and within which bounds
  issued_at  BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX sessions_owner ON sessions (owner);
CREATE INDEX sessions_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX sessions_expires ON sessions (expires_at);

-- +goose Down
DROP TABLE sessions;
