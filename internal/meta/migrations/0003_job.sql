-- +goose Up
CREATE TABLE job (
	id           {{serial}},
	kind         TEXT   NOT NULL
);

-- +goose Down
DROP TABLE job;
