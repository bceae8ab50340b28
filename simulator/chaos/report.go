package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Page is what a campaign reports. What was not run is absent, never zero.
type Page struct {
	Title      string    `json:"title"`
	MadeAt     time.Time `json:"made_at"`
	Simulation *Result   `json:"simulation,omitempty"`
	Planted    []Planted `json:"planted,omitempty"`
}

// write puts it into a file; no name, no file.
func (p *Page) write(file string) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644) //nolint:gosec // anybody may read it
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
