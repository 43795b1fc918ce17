-- +goose Up

-- How a refusal came about: JSON of the whole evaluation; '' for what was not refused, or was counted with others.
ALTER TABLE audit ADD COLUMN trace TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE audit DROP COLUMN trace;
