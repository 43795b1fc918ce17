-- +goose Up

CREATE TABLE accounts (
  id         {{text}} PRIMARY KEY, -- 12 digits
  created_at BIGINT NOT NULL
);

CREATE TABLE access_keys (
  id         {{text}} PRIMARY KEY,
  account    TEXT NOT NULL REFERENCES accounts (id),
  principal  TEXT NOT NULL,  -- ARN of whom the key acts as
  status     TEXT NOT NULL,  -- Active, Inactive
  secret     BYTEA NOT NULL, -- sealed with a key derived from the master key and bound to id
  created_at BIGINT NOT NULL
);
CREATE INDEX access_keys_account ON access_keys (account, id);

-- +goose Down
DROP TABLE access_keys;
DROP TABLE accounts;
