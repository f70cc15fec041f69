"""The official OpenAI client for Python against a real server: VGPO_URL names it, it serves the model `starter`."""

import base64
import json
import os
import unittest
import urllib.request

import openai

URL = os.environ["VGPO_URL"]


def picture():
    """A held-out scene of the starter's task, as a data URL."""
    with urllib.request.urlopen(f"{URL}/v1/datasets/digits/rows?split=eval&limit=1") as answer:
        row = json.load(answer)["data"][0]
    return row["prompt"], row["images"][0]["thumbnail"]


def messages(question, image):
    return [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "text", "text": question},
    ]}]


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = openai.OpenAI(base_url=f"{URL}/v1", api_key="unused", max_retries=0)
        question, image = picture()
        cls.messages = messages(question.replace("<image>", "").strip(), image)

    def ask(self, **more):
        return self.client.chat.completions.create(
            **{"model": "starter", "messages": self.messages, "temperature": 0, "max_tokens": 48, **more})

    def test_models_are_listed_and_found(self):
        models = list(self.client.models.list())
        starter = next(model for model in models if model.id == "starter")
        self.assertEqual((starter.object, type(starter.created)), ("model", int))
        self.assertEqual(self.client.models.retrieve("starter").id, "starter")

    def test_an_image_is_answered(self):
        answer = self.ask()
        choice = answer.choices[0]
        self.assertIn("\\boxed{", choice.message.content)
        self.assertEqual((choice.finish_reason, choice.message.role), ("stop", "assistant"))
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)

    def test_a_stream_joins_to_the_answer(self):
        whole = self.ask()
        with self.ask(stream=True, stream_options={"include_usage": True}) as stream:
            chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage, whole.usage)
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
        self.assertEqual(reasons, ["stop"])

    def test_logprobs_choices_and_seeds(self):
        asked = dict(n=3, temperature=1.0, seed=7, logprobs=True, top_logprobs=2)
        first, second = self.ask(**asked), self.ask(**asked)
        self.assertEqual([c.index for c in first.choices], [0, 1, 2])
        self.assertEqual([c.message.content for c in first.choices], [c.message.content for c in second.choices])
        for token in first.choices[0].logprobs.content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertEqual(bytes(token.bytes).decode(), token.token)

    def test_stop_and_length(self):
        self.assertEqual(self.ask(max_completion_tokens=3, max_tokens=openai.NOT_GIVEN).choices[0].finish_reason, "length")
        stopped = self.ask(stop=[" total", "</think>"]).choices[0]
        self.assertEqual(stopped.finish_reason, "stop")
        self.assertNotIn("total", stopped.message.content)

    def test_extras_come_under_vgpo(self):
        answer = self.ask(extra_body={"vgpo": {"attention": {"maps": "summary"}}})
        visual = answer.choices[0].model_extra["vgpo"]
        self.assertEqual(len(visual["attention"]["summary"]), 1)
        self.assertGreater(visual["visual"]["focus_mean"], 0)

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(openai.NotFoundError) as unknown:
            self.ask(model="no-such-model")
        self.assertEqual(unknown.exception.code, "model_not_found")
        for wrong in [{"temperature": -1}, {"max_tokens": 0}, {"n": 0}, {"messages": []}]:
            with self.assertRaises(openai.BadRequestError) as bad:
                self.ask(**wrong)
            self.assertTrue(bad.exception.param.startswith(next(iter(wrong))), bad.exception)
        local = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]
        with self.assertRaises(openai.BadRequestError):
            self.ask(messages=local)
        cut = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
        with self.assertRaises(openai.BadRequestError):
            self.ask(messages=messages("what is the sum of the digits ?", cut))


if __name__ == "__main__":
    unittest.main()
