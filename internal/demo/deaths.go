package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/federation"
)

const (
	dyingLine = 3 // of the answer: when it has come, the machine dies
	queued    = 3 // signals that the hub has when it dies
)

// deaths are what dies in the middle of the story: a machine with all that runs on it, and the hub.
type deaths struct {
	hub    *federation.Process
	spokes map[string]*federation.Process // by cluster

	waiting int // signals that were not settled when the hub died
}

// killMachine ends everything at once where a session runs, as a machine does that loses its power, and starts the spoke again.
func (d *demonstration) killMachine(ctx context.Context, s *sent) error {
	session, err := d.find(ctx, s)
	if err != nil {
		return err
	}
	cluster := session.GetCluster()
	spoke := d.deaths.spokes[cluster]
	if spoke == nil {
		return fmt.Errorf("%s runs in %q when its machine is to die: its turn was over before its third event came here", s.name(), cluster)
	}
	spoke.Kill()
	gone := 0
	for _, p := range federation.Naming(d.Path(cluster)) {
		p.Kill()
		if err := p.Gone(ctx); err != nil {
			return err
		}
		gone++
	}
	tell("kill -9 of the spoke of %s and of the %d processes of its sessions, in the middle of the turn", cluster, gone)
	d.deaths.spokes[cluster], err = d.StartSpoke(cluster)
	return err
}

// killHub ends the hub at once while it has signals that nobody has done, and starts it again.
func (d *demonstration) killHub(ctx context.Context) (*sent, error) {
	title("The hub is killed while signals wait")
	s := &sent{agent: "auditor", key: "queue", detail: "packages", signals: queued}
	payload, err := d.payload(s)
	if err != nil {
		return nil, err
	}
	for range queued {
		if _, err := d.Nave(ctx, "signal", s.agent, s.key, "-m", string(payload)); err != nil {
			return nil, err
		}
	}
	session, err := d.find(ctx, s)
	if err != nil {
		return nil, err
	}
	s.session, d.deaths.waiting = session.GetId(), int(session.GetPending())
	d.deaths.hub.Kill()
	tell("kill -9 of the hub: %d signals are not settled", d.deaths.waiting)
	began := time.Now()
	if d.deaths.hub, err = d.StartHub(ctx); err != nil {
		return nil, err
	}
	tell("the hub serves again, %.1f s later", time.Since(began).Seconds())
	err = d.Await(ctx, "the queued signals settled", func() (bool, error) {
		session, err := d.find(ctx, s)
		return session.GetPending() == 0, err
	})
	if err != nil {
		return nil, err
	}
	tell("all %d signals are settled, %.1f s after the kill", queued, time.Since(began).Seconds())
	_, err = d.Nave(ctx, "sessions", "--agent", s.agent)
	return s, err
}

// find returns a session by agent and key.
func (d *demonstration) find(ctx context.Context, s *sent) (*navev1.Session, error) {
	c, err := d.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, err := c.Sessions.List(ctx, &navev1.ListSessionsRequest{Agent: s.agent})
	if err != nil {
		return nil, err
	}
	for _, session := range list.GetSessions() {
		if session.GetKey() == s.key {
			return session, nil
		}
	}
	return nil, fmt.Errorf("the hub lists no session %s of %s", s.key, s.agent)
}
