package loopspoke

import (
	"context"
	"log/slog"

	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/rig"
)

// Config says what a spoke is to do.
type Config struct {
	Token  string // a join token that was not used
	Flavor string // that it offers, for any number of sessions
	Log    *slog.Logger
}

// Join enrolls and returns a spoke that does nothing yet.
func Join(ctx context.Context, cfg Config) (*Spoke, error) {
	token, err := client.ParseJoinToken(cfg.Token)
	if err != nil {
		return nil, err
	}
	m, err := rig.Enroll(ctx, token)
	if err != nil {
		return nil, err
	}
	node, link, err := m.Link(cfg.Log, nil)
	if err != nil {
		return nil, err
	}
	return newSpoke(cfg, link, node.Close), nil
}
