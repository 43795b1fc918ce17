package scale

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sekisho/sekisho/internal/durable"
)

const (
	stateFile    = "state.json"
	lockFile     = ".lock"
	agentsFolder = "agents"
	stateVersion = 1
)

// record is an agent that was started, or is about to be.
type record struct {
	Name   string    `json:"name"`
	ID     string    `json:"id,omitempty"` // the template's
	Stage  Stage     `json:"stage"`
	Since  time.Time `json:"since"`  // in the stage
	Joined bool      `json:"joined"` // it was seen in the pool

	lost     bool
	under    bool      // something is being done to it
	launched bool      // by this process
	counted  bool      // among the failures
	again    time.Time // nothing is done to it before
}

// state is what a scaler remembers.
type state struct {
	Version  int       `json:"version"`
	Server   string    `json:"server"`
	Pool     string    `json:"pool"`
	Name     string    `json:"name"`
	Template string    `json:"template"`
	Agents   []*record `json:"agents"`
	Backoff  Backoff   `json:"backoff"`
}

// readState returns what a scaler remembered, which must be about the same pool and template: those that there are, are theirs.
func readState(folder string, now state) (*state, error) {
	path := filepath.Join(folder, stateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &now, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the scaler remembers: %w", err)
	}
	s := &state{}
	if err := json.Unmarshal(text, s); err != nil || s.Version != stateVersion {
		return nil, fmt.Errorf("%s is not what a scaler of this version remembers: move it away, and what it started is found by its names", path)
	}
	if len(s.Agents) > 0 && (s.Server != now.Server || s.Pool != now.Pool || s.Name != now.Name || s.Template != now.Template) {
		return nil, fmt.Errorf("the folder %s has %d agents of %s of the pool %s at %s, template %s: take another folder, or end those first by running the scaler for them with --min 0 --max 0 --once",
			folder, len(s.Agents), s.Name, s.Pool, s.Server, s.Template)
	}
	s.Server, s.Pool, s.Name, s.Template = now.Server, now.Pool, now.Name, now.Template
	return s, nil
}

// save writes what the scaler remembers, when it is something else.
func (s *scaler) save() error {
	text, err := json.MarshalIndent(s.state, "", "  ")
	if err != nil {
		return err
	}
	if string(text) == s.saved {
		return nil
	}
	if err := durable.WriteFile(durable.OS{}, filepath.Join(s.o.Folder, stateFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write what the scaler remembers: %w", err)
	}
	s.saved = string(text)
	return nil
}
