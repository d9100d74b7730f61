package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube"
)

// fingerprintOf is random per data directory: it is what tells this cluster from another one for the process runtime.
func fingerprintOf(dir string) (string, error) {
	path := filepath.Join(dir, "fingerprint")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		id := randomID()
		return id, write(dir, filepath.Base(path), []byte(id+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("read fingerprint: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if len(id) != 32 {
		return "", fmt.Errorf("read fingerprint: %s does not hold 32 characters: bring it back, or remove it to be another cluster", path)
	}
	return id, nil
}

// eldest is the namespace that every cluster has from its first moment on, and that nobody replaces.
const eldest = "kube-system"

// How long an API server may be away while a spoke starts: a cluster that starts too needs some seconds.
const (
	awayLimit = time.Minute
	askLimit  = 10 * time.Second
	askAgain  = time.Second
)

// fingerprintOfCluster is what tells a cluster of Kubernetes from every other one. It is asked at each start, since a data
// directory can be carried to another cluster.
func fingerprintOfCluster(ctx context.Context, access *rest.Config, log *slog.Logger) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, awayLimit, fmt.Errorf("not within %v", awayLimit))
	defer cancel()
	for {
		uid, err := askForUID(ctx, access)
		switch {
		case err == nil:
			return uid, nil
		case apierrors.IsForbidden(err):
			return "", api.Errorf(api.CodeDenied, "the spoke may not read the namespace kube-system, whose UID is the cluster's fingerprint: bind to its service account a Role in "+
				"kube-system that may get namespaces with the resource name kube-system (%v)", err)
		case apierrors.IsUnauthorized(err), apierrors.IsNotFound(err):
			return "", fmt.Errorf("fingerprint of the cluster: %w", err)
		}
		log.Warn("the API server does not answer yet", "error", err)
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return "", fmt.Errorf("fingerprint of the cluster: %w: %w", context.Cause(ctx), err)
		}
	}
}

func askForUID(ctx context.Context, access *rest.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	uid, err := kube.NamespaceUID(ctx, access, eldest)
	return string(uid), err
}
