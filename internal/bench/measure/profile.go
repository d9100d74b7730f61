package measure

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Profile keeps a processor profile of a program for a time, from its --pprof-listen address, in Folder as NAME.cpu.pprof,
// and what it has allocated since it began as NAME.allocs.pprof. Without a Folder it does nothing. It blocks: run it beside
// the load.
func (b *Bench) Profile(ctx context.Context, name, address string, during time.Duration) error {
	if b.Folder == "" {
		return nil
	}
	for kind, path := range map[string]string{"cpu": fmt.Sprintf("profile?seconds=%d", max(1, int(during.Seconds()))), "allocs": "allocs"} {
		if err := fetch(ctx, "http://"+address+"/debug/pprof/"+path, filepath.Join(b.Folder, name+"."+kind+".pprof")); err != nil {
			return fmt.Errorf("%s profile of %s: %w", kind, name, err)
		}
	}
	return nil
}

// Snapshot keeps what a program shows of itself now, such as "heap" or "goroutine", in Folder as NAME.KIND.pprof. Without a
// Folder it does nothing.
func (b *Bench) Snapshot(ctx context.Context, name, address, kind string) error {
	if b.Folder == "" {
		return nil
	}
	if err := fetch(ctx, "http://"+address+"/debug/pprof/"+kind, filepath.Join(b.Folder, name+"."+kind+".pprof")); err != nil {
		return fmt.Errorf("%s profile of %s: %w", kind, name, err)
	}
	return nil
}

func fetch(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, res.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
