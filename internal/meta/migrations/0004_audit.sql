-- +goose Up

-- Who did or tried what. A row is one event, or count identical ones between first_at and last_at; only the row of one
-- event has its request's id. Rows are only inserted, and deleted once they are past the retention time.
CREATE TABLE audit (
  id         {{serial}},
  kind       TEXT NOT NULL,
  first_at   BIGINT NOT NULL,
  last_at    BIGINT NOT NULL,
  count      BIGINT NOT NULL,
  principal  TEXT NOT NULL,
  access_key TEXT NOT NULL,
  action     TEXT NOT NULL,
  resource   TEXT NOT NULL,
  source     TEXT NOT NULL, -- IP address, '' for none
  endpoint   TEXT NOT NULL,
  allowed    BIGINT NOT NULL,
  reason     TEXT NOT NULL,
  detail     TEXT NOT NULL,
  request_id TEXT NOT NULL -- '' for several events
);
CREATE INDEX audit_time ON audit (last_at, id);
CREATE INDEX audit_principal ON audit (principal, last_at, id);
CREATE INDEX audit_request ON audit (request_id) WHERE request_id <> '';

-- +goose Down
DROP TABLE audit;
