package archive

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

var errNotBuilt = api.Errorf(api.CodeUnsupported, "not built yet")

// Branch implements [hub.Archive].
func (a *Archive) Branch(ctx context.Context, session api.SessionID, source api.Source) (hub.Branch, error) {
	return hub.Branch{}, errNotBuilt
}

// AppendSide implements [hub.Archive].
func (a *Archive) AppendSide(ctx context.Context, org api.OrgID, batch api.EventBatch, cluster api.ClusterID, at time.Time) error {
	return errNotBuilt
}

// Side implements [hub.Reader].
func (a *Archive) Side(ctx context.Context, org api.OrgID, session api.SessionID, after uint64, limit int) ([]hub.SideEvent, uint64, error) {
	return nil, 0, errNotBuilt
}

// DeadLetters implements [hub.Reader].
func (a *Archive) DeadLetters(ctx context.Context, org api.OrgID, f hub.DeadFilter, after string, limit int) ([]hub.SettledSignal, string, error) {
	return nil, "", errNotBuilt
}

// DeadLetter implements [hub.Reader].
func (a *Archive) DeadLetter(ctx context.Context, org api.OrgID, id api.SignalID) (hub.SettledSignal, error) {
	return hub.SettledSignal{}, errNotBuilt
}

// Terminated implements [hub.Reader].
func (a *Archive) Terminated(ctx context.Context, org api.OrgID, id api.SessionID) (api.Session, error) {
	return api.Session{}, errNotBuilt
}
