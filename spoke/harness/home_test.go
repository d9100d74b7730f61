package harness

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files lists what is below a directory, links with where they lead.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if to, err := os.Readlink(path); err == nil {
			name += " -> " + to
		}
		out = append(out, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// Skills are as the definition says; what the agent put beside them stays.
func TestSkills(t *testing.T) {
	home := t.TempDir()
	skill := func(name, body string) *harnessv1.Skill {
		return &harnessv1.Skill{Name: name, Description: `how to "review": it`, Body: body}
	}
	put := func(skills ...*harnessv1.Skill) {
		t.Helper()
		if err := writeSkills(home, skills); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if got := files(t, home); len(got) != 0 || skilled(&harnessv1.Workload{Home: home}) {
		t.Fatalf("without skills there is %q", got)
	}
	put(skill("review", "Look twice."), skill("test", "Test it."))
	text, err := os.ReadFile(filepath.Join(home, ".claude/skills/review/SKILL.md"))
	if want := "---\nname: review\ndescription: \"how to \\\"review\\\": it\"\n---\n\nLook twice.\n"; err != nil || string(text) != want {
		t.Errorf("SKILL.md is %q, %v", text, err)
	}
	write(t, filepath.Join(home, ".agents/skills/own/SKILL.md"), "mine")
	write(t, filepath.Join(home, ".agents/skills/review/old.md"), "of an earlier revision")
	put(skill("review", "Look thrice."))
	want := []string{".agents/skills/own/SKILL.md", ".agents/skills/review/.nave", ".agents/skills/review/SKILL.md", ".claude/skills -> ../.agents/skills"}
	if diff := cmp.Diff(want, files(t, home)); diff != "" {
		t.Errorf("after a change (-want +got)\n%s", diff)
	}
	if err := writeSkills(home, []*harnessv1.Skill{skill("own", "ours")}); err == nil || !strings.Contains(err.Error(), `skill "own"`) {
		t.Errorf("a skill of the agent's own would be replaced: %v", err)
	}
	put()
	if diff := cmp.Diff([]string{".agents/skills/own/SKILL.md", ".claude/skills -> ../.agents/skills"}, files(t, home)); diff != "" {
		t.Errorf("dropped (-want +got)\n%s", diff)
	}
	if err := os.RemoveAll(filepath.Join(home, ".agents/skills/own")); err != nil {
		t.Fatal(err)
	}
	put(skill("review", "Look twice."))
	put()
	if got := files(t, home); len(got) != 0 || skilled(&harnessv1.Workload{Home: home}) {
		t.Errorf("the last one was dropped, and there is %q", got)
	}
}

// A link that the agent made leads nowhere else, and what it has in the second place stays its own.
func TestSkillsStayInTheHome(t *testing.T) {
	home, outside := t.TempDir(), t.TempDir()
	skills := []*harnessv1.Skill{{Name: "review", Description: "d", Body: "b"}}
	write(t, filepath.Join(home, ".claude/skills/own/SKILL.md"), "mine")
	if err := writeSkills(home, skills); err != nil {
		t.Fatal(err)
	}
	if err := writeSkills(home, nil); err != nil || !cmp.Equal(files(t, home), []string{".claude/skills/own/SKILL.md"}) || skilled(&harnessv1.Workload{Home: home}) {
		t.Errorf("the agent's own skills are to stay alone, there is %q (%v)", files(t, home), err)
	}
	write(t, filepath.Join(outside, "review/.nave"), "")
	if err := os.RemoveAll(filepath.Join(home, ".agents")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(home, ".agents"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(home, ".agents/skills")); err != nil {
		t.Fatal(err)
	}
	if err := writeSkills(home, skills); err == nil || !exists(filepath.Join(outside, "review/.nave")) {
		t.Errorf("a link out of the home was followed: %v, %q", err, files(t, outside))
	}
}

func TestMemory(t *testing.T) {
	home, outside := t.TempDir(), t.TempDir()
	if m, err := loadMemory(home); err != nil || m != (memory{}) {
		t.Fatalf("without a file: %+v, %v", m, err)
	}
	m := memory{Session: "s1", Agent: "tester", Version: "7", Instructions: hashOf("be quick"), Answered: true}
	for range 2 { // it is replaced
		if err := m.store(home); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := loadMemory(home); err != nil || got != m {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{".nave/acp.json"}, files(t, home)); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
	write(t, filepath.Join(home, memoryFile), "not JSON")
	if got, err := loadMemory(home); err != nil || got != (memory{}) {
		t.Errorf("what the agent made of it: %+v, %v", got, err)
	}
	if err := os.RemoveAll(filepath.Join(home, memoryDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(home, memoryDir)); err != nil {
		t.Fatal(err)
	}
	if err := m.store(home); err == nil || len(files(t, outside)) != 0 {
		t.Errorf("a link out of the home was followed: %v", err)
	}
}
