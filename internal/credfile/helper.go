package credfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// helperPrefix is in front of a helper's name to make the program's (docker-credential-helpers, "Development").
const helperPrefix = "docker-credential-"

// store gives a credential to a helper, on its standard input.
func store(ctx context.Context, helper, registry string, c Credential) error {
	input, err := json.Marshal(struct{ ServerURL, Username, Secret string }{registry, c.Username, c.Password})
	if err != nil {
		return err
	}
	program := helperPrefix + helper
	cmd := exec.CommandContext(ctx, program, "store")
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput() // a helper says on standard output what went wrong
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("the credential helper %s is named by the client's configuration but not installed", program)
	}
	said := strings.TrimSpace(string(out))
	if len(said) > 200 {
		said = said[:200]
	}
	if c.Password != "" {
		said = strings.ReplaceAll(said, c.Password, "********")
	}
	return fmt.Errorf("%s store: %w: %s", program, err, said)
}
