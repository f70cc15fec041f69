//! What columns of data sets are usually called.

use super::spec::Columns;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The question.
    Prompt,
    /// The ground truth.
    Answer,
    /// The pictures.
    Images,
    /// A worked response.
    Demonstration,
    /// Labels.
    Tags,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Prompt, Self::Answer, Self::Images, Self::Demonstration, Self::Tags];

    /// Its name in `columns`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Answer => "answer",
            Self::Images => "images",
            Self::Demonstration => "demonstration",
            Self::Tags => "tags",
        }
    }

    /// Names under which published data sets have it, the default first: the first one that a data set has is taken.
    pub fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Prompt => {
                &["problem", "question", "prompt", "query", "instruction", "messages", "conversations", "conversation"]
            }
            Self::Answer => &[
                "answer",
                "solution",
                "ground_truth",
                "target",
                "answers",
                "gt",
                "reward_model.ground_truth",
                "reference_answer",
                "final_answer",
                "correct_answer",
                "multiple_choice_answer",
                "label",
                "completion",
                "output",
                "response",
            ],
            Self::Images => &[
                "images",
                "image",
                "img",
                "imgs",
                "picture",
                "pictures",
                "photo",
                "image_path",
                "image_paths",
                "img_path",
                "image_file",
                "image_files",
                "image_url",
            ],
            Self::Demonstration => &["demonstration", "completion", "output"],
            Self::Tags => &["tags"],
        }
    }

    /// Its name when nothing else is said.
    pub fn default_column(self) -> &'static str {
        self.usual()[0]
    }
}

impl Columns {
    /// The names that most data sets for visual reasoning have.
    pub fn usual() -> Self {
        let name = |role: Role| role.default_column().to_owned();
        Self {
            prompt: name(Role::Prompt),
            answer: name(Role::Answer),
            images: name(Role::Images),
            demonstration: Some(name(Role::Demonstration)),
            tags: Some(name(Role::Tags)),
        }
    }

    /// The column of a role, if it has one.
    pub fn get(&self, role: Role) -> Option<&str> {
        match role {
            Role::Prompt => Some(&self.prompt),
            Role::Answer => Some(&self.answer),
            Role::Images => Some(&self.images),
            Role::Demonstration => self.demonstration.as_deref(),
            Role::Tags => self.tags.as_deref(),
        }
    }

    /// Gives a role another column.
    pub fn set(&mut self, role: Role, column: &str) {
        let column = column.to_owned();
        match role {
            Role::Prompt => self.prompt = column,
            Role::Answer => self.answer = column,
            Role::Images => self.images = column,
            Role::Demonstration => self.demonstration = Some(column),
            Role::Tags => self.tags = Some(column),
        }
    }

    /// Was the column of a role named, by another name than the default?
    pub fn is_chosen(&self, role: Role) -> bool {
        self.get(role).is_some_and(|column| column != role.default_column())
    }

    /// These columns, and those of `found` for roles that keep their default names.
    #[must_use]
    pub fn or_found(&self, found: &Self) -> Self {
        let mut merged = self.clone();
        for role in Role::ALL {
            if let (Some(_), Some(column)) = (merged.get(role), found.get(role))
                && !merged.is_chosen(role)
            {
                let column = column.to_owned();
                merged.set(role, &column);
            }
        }
        merged
    }
}
