//! The recipes of CONTRIBUTING.md list the files that a change of their kind touches, and no others.

use super::documents::{below, ends, read, root};

/// A recipe of CONTRIBUTING.md: which files a change of its kind touches.
#[derive(Debug, Default)]
struct Recipe {
    title: String,
    /// Something of that kind that the project has.
    example: String,
    /// What is found in every file that knows of the example, and in no other.
    traces: Vec<String>,
    /// Files written by hand, at most.
    most: usize,
    /// Files that were new with it; folders end in `/`.
    new: Vec<String>,
    /// Files that are changed.
    edit: Vec<String>,
    /// Files that a program writes anew.
    made: Vec<String>,
    /// Files that may know of the example, but need not know of another of its kind.
    may: Vec<String>,
    /// Where it is tested.
    test: Vec<String>,
}

impl Recipe {
    /// From the lines of a block ```` ```files ````: a word, and what it says.
    fn parse(title: &str, block: &str) -> Self {
        let mut recipe = Self { title: title.to_owned(), ..Self::default() };
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (word, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{title}: `{line}`"));
            let rest = rest.trim().to_owned();
            match word {
                "example" => recipe.example = rest,
                "traces" => recipe.traces = rest.split(" · ").map(str::to_owned).collect(),
                "most" => recipe.most = rest.parse().unwrap(),
                "new" => recipe.new.push(rest),
                "edit" => recipe.edit.push(rest),
                "made" => recipe.made.push(rest),
                "may" => recipe.may.push(rest),
                "test" => recipe.test.push(rest),
                other => panic!("{title}: `{other}` is not a word of recipes"),
            }
        }
        recipe
    }

    fn lists(&self, path: &str) -> bool {
        let listed = [&self.new, &self.edit, &self.may];
        let mut listed = listed.into_iter().flatten();
        listed.any(|one| path == one || (one.ends_with('/') && path.starts_with(one.as_str())))
    }

    fn faults(&self, sources: &[(String, String)]) -> Vec<String> {
        let mut faults = Vec::new();
        let by_hand = self.new.len() + self.edit.len();
        if by_hand > self.most {
            faults.push(format!("touches {by_hand} files, more than {}", self.most));
        }
        let named = [&self.new, &self.edit, &self.made, &self.may, &self.test].into_iter().flatten();
        faults.extend(named.filter(|path| !root().join(path).exists()).map(|path| format!("{path} does not exist")));
        let knows = |text: &str| self.traces.iter().any(|trace| text.contains(trace.as_str()));
        for (path, text) in sources.iter().filter(|(_, text)| knows(text)) {
            if !self.lists(path) {
                let trace = self.traces.iter().find(|trace| text.contains(trace.as_str()));
                faults.push(format!("does not list {path}, which knows `{}`", trace.map_or("", String::as_str)));
            }
        }
        let code = self.edit.iter().filter(|path| ends(path, &["rs", "js"]) && root().join(path).exists());
        let silent = code.filter(|path| !knows(&read(path)));
        faults.extend(silent.map(|path| format!("lists {path}, which knows nothing of {}", self.example)));
        faults.into_iter().map(|fault| format!("{}: {fault}", self.title)).collect()
    }
}

/// The recipes by their headings (`### A reward`).
fn recipes() -> Vec<Recipe> {
    let text = read("CONTRIBUTING.md");
    let sections = text.split("\n### ").skip(1);
    sections
        .flat_map(|section| {
            let title = section.lines().next().unwrap_or_default();
            let blocks = section.split("```files\n").skip(1).filter_map(|rest| rest.split("```").next());
            blocks.map(|block| Recipe::parse(title, block)).collect::<Vec<_>>()
        })
        .collect()
}

/// Recipes that there must be, and the most files that each may touch.
const KINDS: [(&str, usize); 10] = [
    ("A reward", 5),
    ("An objective", 6),
    ("An advantage estimator", 5),
    ("A metric", 3),
    ("A headline metric", 1),
    ("A job setting", 4),
    ("A server setting", 3),
    ("A model family", 4),
    ("A REST resource with a table", 14),
    ("A dashboard page", 3),
];

#[test]
fn recipes_list_what_a_change_touches() {
    let recipes = recipes();
    for (kind, most) in KINDS {
        let recipe = recipes.iter().find(|recipe| recipe.title == kind);
        let recipe = recipe.unwrap_or_else(|| panic!("CONTRIBUTING.md has no recipe `{kind}` with a block of files"));
        assert!(recipe.most <= most, "{kind}: {} files, where {most} have to do", recipe.most);
    }
    let code = below("src").into_iter().chain(below("web/app")).chain(below("migrations"));
    let code: Vec<(String, String)> = code.map(|path| (path.clone(), read(&path))).collect();
    let faults: Vec<String> = recipes.iter().flat_map(|recipe| recipe.faults(&code)).collect();
    assert!(faults.is_empty(), "CONTRIBUTING.md: {faults:#?}");
}
